// What is seen: the image with the mask and the attention over it, enlarged with crisp pixels.

const MASK_COLOUR = [255, 55, 95];
const ATTENTION_COLOUR = [53, 214, 242];
const INSIDE = 95; // opacity of the mask's inner pixels, of 255
const EDGE = 255;

export class View {
  constructor(canvas, maskCanvas) {
    this.canvas = canvas;
    this.maskCanvas = maskCanvas;
    this.context = canvas.getContext("2d");
    this.maskContext = maskCanvas.getContext("2d", { willReadFrequently: true });
    this.image = null;
    this.attention = null; // canvas, or null where it is hidden
    this.showMask = true;
    this.points = []; // of the open polygon, in image pixels
    this.cursor = null; // { x, y, size } in image pixels
    this.scale = 1; // CSS pixels an image pixel
    this.x = 0;
    this.y = 0;
    this.fitted = true;
    new ResizeObserver(() => this.#resized()).observe(canvas);
  }

  open(image) {
    this.image = image;
    this.attention = null;
    this.points = [];
    this.cursor = null;
    if (image) {
      this.maskCanvas.width = image.width;
      this.maskCanvas.height = image.height;
      this.fit();
    }
    this.redraw();
  }

  // Draws a rectangle of the mask anew.
  paint(mask, [left, top, right, bottom] = [0, 0, mask.width, mask.height]) {
    left = Math.max(0, left - 1);
    top = Math.max(0, top - 1);
    right = Math.min(mask.width, right + 1);
    bottom = Math.min(mask.height, bottom + 1);
    const { width, height, pixels } = mask;
    const data = this.maskContext.createImageData(right - left, bottom - top);
    for (let y = top, at = 0; y < bottom; y++) {
      for (let x = left; x < right; x++, at += 4) {
        const i = y * width + x;
        if (!pixels[i]) continue;
        const inner = (x === 0 || pixels[i - 1]) && (x === width - 1 || pixels[i + 1])
          && (y === 0 || pixels[i - width]) && (y === height - 1 || pixels[i + width]);
        data.data.set(MASK_COLOUR, at);
        data.data[at + 3] = inner ? INSIDE : EDGE;
      }
    }
    this.maskContext.putImageData(data, left, top);
    this.redraw();
  }

  // Shows attention values of the image's size, brighter above the threshold; null hides them.
  paintAttention(values, threshold) {
    this.attention = null;
    if (values) {
      this.attention = new OffscreenCanvas(this.image.width, this.image.height);
      const context = this.attention.getContext("2d");
      const data = context.createImageData(this.image.width, this.image.height);
      const { width } = this.image;
      for (let i = 0; i < values.length; i++) {
        const above = values[i] > threshold;
        const edge = above !== values[i + 1] > threshold || above !== values[i + width] > threshold;
        data.data.set(ATTENTION_COLOUR, 4 * i);
        data.data[4 * i + 3] = edge ? EDGE : above ? 90 : values[i] * 0.2;
      }
      context.putImageData(data, 0, 0);
    }
    this.redraw();
  }

  toImage(x, y) {
    return { x: (x - this.x) / this.scale, y: (y - this.y) / this.scale };
  }

  fit() {
    const { clientWidth, clientHeight } = this.canvas;
    if (!this.image || !clientWidth || !clientHeight) return;
    const margin = Math.min(32, 0.05 * Math.min(clientWidth, clientHeight));
    this.scale = Math.min(
      (clientWidth - 2 * margin) / this.image.width, (clientHeight - 2 * margin) / this.image.height,
    );
    this.x = (clientWidth - this.image.width * this.scale) / 2;
    this.y = (clientHeight - this.image.height * this.scale) / 2;
    this.fitted = true;
    this.redraw();
  }

  // Enlarges around a point of the canvas.
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const scale = Math.min(64, Math.max(0.02, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.redraw();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.redraw();
  }

  redraw() {
    this.scheduled ??= requestAnimationFrame(() => {
      this.scheduled = null;
      this.#draw();
    });
  }

  #resized() {
    const ratio = devicePixelRatio;
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    if (this.fitted) this.fit();
    this.redraw();
  }

  #draw() {
    const { context } = this;
    const ratio = devicePixelRatio;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.image) return;
    context.setTransform(this.scale * ratio, 0, 0, this.scale * ratio, this.x * ratio, this.y * ratio);
    context.imageSmoothingEnabled = this.scale * ratio < 1;
    context.drawImage(this.image, 0, 0);
    if (this.attention) context.drawImage(this.attention, 0, 0);
    if (this.showMask) context.drawImage(this.maskCanvas, 0, 0);
    context.lineJoin = "round";
    if (this.points.length) {
      const points = this.cursor ? [...this.points, this.cursor] : this.points;
      this.#outline(() => points.forEach(({ x, y }) => context.lineTo(x, y)));
      for (const { x, y } of this.points) {
        this.#outline(() => context.arc(x, y, 3.5 / this.scale, 0, 2 * Math.PI), true);
      }
    }
    if (this.cursor?.size) {
      this.#outline(() => context.arc(this.cursor.x, this.cursor.y, this.cursor.size / 2, 0, 2 * Math.PI));
    }
  }

  // A light line on a dark one is seen on every image.
  #outline(path, filled = false) {
    const { context } = this;
    context.beginPath();
    path();
    if (filled) {
      context.closePath();
      context.fillStyle = "#ff375f";
      context.fill();
    }
    for (const [width, colour] of [[3, "#000a"], [1.4, "#fff"]]) {
      context.lineWidth = width / this.scale;
      context.strokeStyle = colour;
      context.stroke();
    }
  }
}
