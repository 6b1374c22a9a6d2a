// The film on its light box: zoom, move, and layers over it.

const STEP = 1.25;
const FILL = 0.12; // of the outline's opacity, so that the film shows through
const [ABOVE, BELOW] = [42, 64]; // room for the legend and the toolbar, in CSS pixels
const HEAT = 0.85; // at 100 % the film can still be made out

export class Viewer {
  /** Draws on `canvas`, listens on `frame` (which has the keyboard focus); `onZoom(scale)` after each change. */
  constructor(frame, canvas, onZoom) {
    this.frame = frame;
    this.canvas = canvas;
    this.onZoom = onZoom;
    this.paint = canvas.getContext("2d");
    this.film = null;
    this.masks = [];
    this.heat = null;
    this.opacity = { mask: 0.8, saliency: 0.5 };
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.fitted = true;
    new ResizeObserver(() => this.resize()).observe(frame);
    this.listen();
  }

  show(film, masks, heat) {
    Object.assign(this, { film, masks, heat });
    this.frame.classList.add("loaded");
    this.fit();
  }

  clear() {
    Object.assign(this, { film: null, masks: [], heat: null });
    this.frame.classList.remove("loaded");
    this.draw();
  }

  setOpacity(layer, value) {
    this.opacity[layer] = value;
    this.draw();
  }

  // Lengths are device pixels throughout, so that a film pixel can be a screen pixel.
  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.frame.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.frame.clientHeight * ratio));
    if (this.fitted) this.fit();
    else this.draw();
  }

  fit() {
    if (!this.film) return this.draw();
    const { width } = this.canvas;
    const ratio = window.devicePixelRatio || 1;
    const height = Math.max(1, this.canvas.height - (ABOVE + BELOW) * ratio);
    this.scale = Math.min((0.97 * width) / this.film.width, height / this.film.height);
    this.x = (width - this.scale * this.film.width) / 2;
    this.y = ABOVE * ratio + (height - this.scale * this.film.height) / 2;
    this.fitted = true;
    this.draw();
  }

  /** Zoom by `factor`, keeping the film under (x, y) where it is; the middle by default. */
  zoom(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    if (!this.film) return;
    const scale = Math.min(32, Math.max(0.02, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.draw();
  }

  move(dx, dy) {
    if (!this.film) return;
    // A part of the film always stays in sight.
    const keep = (value, size, room) => Math.min(room - 40, Math.max(40 - size, value));
    this.x = keep(this.x + dx, this.scale * this.film.width, this.canvas.width);
    this.y = keep(this.y + dy, this.scale * this.film.height, this.canvas.height);
    this.fitted = false;
    this.draw();
  }

  draw() {
    const { paint, canvas } = this;
    paint.setTransform(1, 0, 0, 1, 0, 0);
    paint.clearRect(0, 0, canvas.width, canvas.height);
    if (this.film) {
      paint.setTransform(this.scale, 0, 0, this.scale, this.x, this.y);
      paint.imageSmoothingEnabled = this.scale < 4;
      paint.imageSmoothingQuality = "high";
      this.paintLayers(paint);
    }
    this.onZoom(this.scale);
  }

  paintLayers(paint) {
    const { width, height } = this.film;
    paint.globalAlpha = 1;
    paint.drawImage(this.film, 0, 0);
    if (this.heat) {
      paint.save();
      paint.imageSmoothingEnabled = true;
      paint.globalAlpha = HEAT * this.opacity.saliency;
      paint.drawImage(this.heat, 0, 0, width, height);
      paint.restore();
    }
    for (const { fill, line } of this.masks) {
      paint.globalAlpha = FILL * this.opacity.mask;
      paint.drawImage(fill, 0, 0);
      paint.globalAlpha = this.opacity.mask;
      paint.drawImage(line, 0, 0);
    }
    paint.globalAlpha = 1;
  }

  /** What is on the light box, at the film's own size, with `caption` on a strip below it. */
  picture(caption) {
    const canvas = document.createElement("canvas");
    const { width, height } = this.film;
    const letters = Math.max(10, Math.round(width / 45));
    canvas.width = width;
    canvas.height = height + 2 * letters;
    const paint = canvas.getContext("2d");
    paint.fillStyle = "#000";
    paint.fillRect(0, 0, canvas.width, canvas.height);
    this.paintLayers(paint);
    paint.fillStyle = "#ffc85c";
    paint.font = `${letters}px sans-serif`;
    paint.textBaseline = "middle";
    paint.fillText(caption, letters, height + letters, width - 2 * letters);
    return canvas;
  }

  listen() {
    const { frame, canvas } = this;
    const ratio = () => window.devicePixelRatio || 1;
    canvas.addEventListener("wheel", (event) => {
      if (!this.film) return;
      event.preventDefault();
      const factor = Math.exp(-Math.max(-120, Math.min(120, event.deltaY)) / 400);
      this.zoom(factor, event.offsetX * ratio(), event.offsetY * ratio());
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.film || event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      frame.classList.add("dragging");
    });
    canvas.addEventListener("pointermove", (event) => {
      if (frame.classList.contains("dragging")) this.move(event.movementX * ratio(), event.movementY * ratio());
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => frame.classList.remove("dragging"));
    }
    canvas.addEventListener("dblclick", () => this.fit());
    frame.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    if (event.target !== this.frame || event.ctrlKey || event.metaKey || event.altKey) return;
    const far = 0.08 * this.canvas.height;
    const actions = {
      "+": () => this.zoom(STEP), "=": () => this.zoom(STEP), "-": () => this.zoom(1 / STEP),
      "0": () => this.fit(), "1": () => this.zoom(1 / this.scale),
      ArrowLeft: () => this.move(far, 0), ArrowRight: () => this.move(-far, 0),
      ArrowUp: () => this.move(0, far), ArrowDown: () => this.move(0, -far),
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  }
}
