// The film on its light box: zoom, move, window, and layers over it.

const STEP = 1.25;
const HEAT = 0.85; // at 100 % the film can still be made out

export class Viewer {
  /** Draws on `canvas`, which fills `stage`, and listens on `frame`, which has the keyboard focus.
   *  Tells `onZoom(scale)` after each change, and `onWindow(dx, dy)` how far a drag moves window and level. */
  constructor(frame, stage, canvas, { onZoom, onWindow }) {
    Object.assign(this, { frame, stage, canvas, onZoom, onWindow });
    this.paint = canvas.getContext("2d");
    this.film = null;
    this.masks = [];
    this.heat = null;
    this.opacity = { mask: 0.6, saliency: 0 };
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.fitted = true;
    new ResizeObserver(() => this.resize()).observe(stage);
    this.listen();
  }

  /** `film` is a Film, `masks` and `heat` canvases. */
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

  /** The film's own width and height. */
  get size() {
    return this.film.canvas;
  }

  // Lengths are device pixels throughout, so that a film pixel can be a screen pixel.
  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.stage.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.stage.clientHeight * ratio));
    if (this.fitted) this.fit();
    else this.draw();
  }

  fit() {
    if (!this.film) return this.draw();
    const { width, height } = this.canvas;
    this.scale = Math.min(width / this.size.width, height / this.size.height);
    this.x = (width - this.scale * this.size.width) / 2;
    this.y = (height - this.scale * this.size.height) / 2;
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
    this.x = keep(this.x + dx, this.scale * this.size.width, this.canvas.width);
    this.y = keep(this.y + dy, this.scale * this.size.height, this.canvas.height);
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
    const { width, height } = this.size;
    paint.globalAlpha = 1;
    paint.drawImage(this.film.canvas, 0, 0);
    if (this.heat) {
      paint.save();
      paint.imageSmoothingEnabled = true;
      paint.globalAlpha = HEAT * this.opacity.saliency;
      paint.drawImage(this.heat, 0, 0, width, height);
      paint.restore();
    }
    paint.globalAlpha = this.opacity.mask;
    for (const line of this.masks) paint.drawImage(line, 0, 0);
    paint.globalAlpha = 1;
  }

  /** What is on the light box, at the film's own size, with `caption` on a strip below it. */
  picture(caption) {
    const canvas = document.createElement("canvas");
    const { width, height } = this.size;
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
      if (!this.film || event.button === 1) return;
      canvas.setPointerCapture(event.pointerId);
      frame.classList.add(event.button === 2 || event.shiftKey ? "windowing" : "dragging");
    });
    canvas.addEventListener("pointermove", (event) => {
      const { movementX: dx, movementY: dy } = event;
      if (frame.classList.contains("dragging")) this.move(dx * ratio(), dy * ratio());
      if (frame.classList.contains("windowing")) this.onWindow(dx, dy);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => frame.classList.remove("dragging", "windowing"));
    }
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
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
