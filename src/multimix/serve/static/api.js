// The service's own API, and nothing else: no address but this page's is ever asked.

let token = ""; // kept in memory only; a reload asks again

export function setToken(value) {
  token = value;
}

/** What the service said no with; `status` is 0 where it could not be reached. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The service cannot be reached; look whether it still runs.");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, answer.detail ?? `The service answered ${response.status}.`);
  return answer;
}

export const model = () => ask("/v1/model");

export function predict(file, signal) {
  const body = new FormData();
  body.append("files", file, file.name);
  return ask("/v1/predict?image=true&mask=true&saliency=true&stability=true", { method: "POST", body, signal });
}
