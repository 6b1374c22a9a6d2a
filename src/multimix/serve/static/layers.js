// From the answer's pictures to what lies over the image: outlines of masks, and heat.
// Colours, blur and thresholds are those of `multimix predict`'s overlays (io/overlay.py); outlines are half as wide.

export const COLOURS = [[40, 190, 255], [0, 220, 150], [220, 120, 230], [240, 228, 66], [255, 255, 255]];
const HEAT = [[0, [190, 30, 20]], [0.5, [240, 110, 10]], [1, [255, 215, 80]]];
const FROM = 0.35; // saliency below this share of its peak leaves the image as it is
const SIDE = 256; // the heat is wide, so a small picture of it will do

export const blobOf = (base64) => new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], { type: "image/png" });

export const bitmapOf = (base64) =>
  createImageBitmap(blobOf(base64), { colorSpaceConversion: "none", premultiplyAlpha: "none" });

export function surface(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return [canvas, canvas.getContext("2d", { willReadFrequently: true })];
}

/** The outline of a mask: a canvas of its size, opaque on the line. */
export function maskLayer(bitmap, index) {
  const { width, height } = bitmap;
  const [red, green, blue] = COLOURS[index % COLOURS.length];
  const [fill, paint] = surface(width, height);
  paint.drawImage(bitmap, 0, 0);
  const picture = paint.getImageData(0, 0, width, height);
  const data = picture.data;
  for (let i = 0; i < data.length; i += 4) {
    data[i + 3] = data[i];
    data[i] = red;
    data[i + 1] = green;
    data[i + 2] = blue;
  }
  paint.putImageData(picture, 0, 0);
  return outline(fill);
}

/** The mask less itself moved a little in every direction. */
function outline(fill) {
  const { width, height } = fill;
  const thick = Math.max(1, Math.ceil(Math.min(width, height) / 600));
  const [inner, erode] = surface(width, height);
  erode.drawImage(fill, 0, 0);
  erode.globalCompositeOperation = "destination-in";
  for (let step = 0; step < 16; step++) {
    const angle = (step * Math.PI) / 8;
    erode.drawImage(fill, Math.round(thick * Math.cos(angle)), Math.round(thick * Math.sin(angle)));
  }
  const [line, paint] = surface(width, height);
  paint.drawImage(fill, 0, 0);
  paint.globalCompositeOperation = "destination-out";
  paint.drawImage(inner, 0, 0);
  return line;
}

/** A small canvas of the saliency, blurred and coloured; to be stretched over the image. */
export function heatLayer(bitmap) {
  const shrink = Math.max(1, Math.max(bitmap.width, bitmap.height) / SIDE);
  const width = Math.max(1, Math.round(bitmap.width / shrink));
  const height = Math.max(1, Math.round(bitmap.height / shrink));
  const [canvas, paint] = surface(width, height);
  paint.imageSmoothingQuality = "high";
  paint.drawImage(bitmap, 0, 0, width, height);
  const picture = paint.getImageData(0, 0, width, height);
  let values = new Float32Array(width * height).map((_, i) => picture.data[4 * i]);
  values = blur(values, width, height, 0.025 * Math.max(width, height));
  const peak = values.reduce((a, b) => Math.max(a, b), 0) || 1;
  values.forEach((value, i) => {
    const strength = Math.max(0, (value / peak - FROM) / (1 - FROM));
    picture.data.set([...colour(strength), 255 * Math.sqrt(strength)], 4 * i);
  });
  paint.putImageData(picture, 0, 0);
  return canvas;
}

function colour(strength) {
  const above = HEAT.findIndex(([stop]) => stop >= strength);
  if (above <= 0) return HEAT[0][1];
  const [[low, from], [high, to]] = [HEAT[above - 1], HEAT[above]];
  return from.map((c, i) => c + ((to[i] - c) * (strength - low)) / (high - low));
}

function blur(values, width, height, sigma) {
  const reach = Math.ceil(3 * sigma);
  const kernel = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-(((i - reach) / sigma) ** 2) / 2));
  const total = kernel.reduce((a, b) => a + b);
  const along = (source, count, lines, step, stride) => {
    const out = new Float32Array(source.length);
    for (let line = 0; line < lines; line++) {
      for (let at = 0; at < count; at++) {
        let sum = 0;
        for (let k = -reach; k <= reach; k++) {
          const near = Math.min(count - 1, Math.max(0, at + k));
          sum += kernel[k + reach] * source[line * stride + near * step];
        }
        out[line * stride + at * step] = sum / total;
      }
    }
    return out;
  };
  return along(along(values, width, height, 1, width), height, width, width, 1);
}
