# Image of the archive worker and the service, with the weights that ship and without torch. Not for clinical use.
#
#   docker build -t multimix .
#   docker run -v ./pacs.yaml:/etc/multimix/pacs.yaml:ro -v multimix-queue:/var/lib/multimix -p 11112:11112 multimix
#
# In a container the node listens on node.address 0.0.0.0, and metrics.port is 9100 for the health check.
FROM python:3.11-slim

COPY pyproject.toml constraints.txt README.md /build/
COPY src /build/src
RUN python -m pip install --no-cache-dir --constraint /build/constraints.txt "/build[pacs,serve]" \
    && rm -r /build \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/multimix multimix

USER 10001
WORKDIR /var/lib/multimix
VOLUME /var/lib/multimix
ENV OMP_NUM_THREADS=2 PYTHONUNBUFFERED=1
EXPOSE 11112 9100
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=60s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9100/health', timeout=5)"]
ENTRYPOINT ["multimix"]
CMD ["pacs", "run", "--weights", "chest-xray", "--config", "/etc/multimix/pacs.yaml"]
