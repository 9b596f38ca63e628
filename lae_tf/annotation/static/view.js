// What is seen: the image with the mask and the attention over it, enlarged with crisp pixels.

const MASK_COLOUR = 0x5f37ff; // blue, green, red: as in the words of ImageData
const ATTENTION_COLOUR = 0xf2d635;
const LINE = 1.5; // CSS pixels: lines are as thin on a few large pixels as on a photograph

// A region of the image on the screen: a transparent area with a line around it, kept until it changes.
class Region {
  constructor(opacity) {
    this.opacity = opacity;
    this.canvas = new OffscreenCanvas(1, 1);
    this.stale = true;
  }

  // Draws an opaque canvas over the image; `place` brings the image's pixels to the screen, moved by CSS pixels.
  draw(source, image, { width, height }, place) {
    if (!this.stale) return;
    this.stale = false;
    const whole = [source, 0, 0, image.width, image.height];
    Object.assign(this.canvas, { width, height }); // clears it
    const context = this.canvas.getContext("2d");
    // The line is what the area covers when it is moved a little, without the area.
    for (const [dx, dy] of [[-LINE, -LINE], [LINE, -LINE], [-LINE, LINE], [LINE, LINE]]) {
      place(context, dx, dy);
      context.drawImage(...whole);
    }
    place(context, 0, 0);
    context.globalCompositeOperation = "destination-out";
    context.drawImage(...whole);
    context.globalCompositeOperation = "source-over";
    context.globalAlpha = this.opacity;
    context.drawImage(...whole);
  }
}

export class View {
  constructor(canvas, maskCanvas) {
    this.canvas = canvas;
    this.maskCanvas = maskCanvas;
    this.context = canvas.getContext("2d");
    this.maskContext = maskCanvas.getContext("2d", { willReadFrequently: true });
    this.image = null;
    this.surroundings = null; // { bitmap, left, top, width }: the image's place and width in the bitmap's pixels
    this.showSurroundings = true;
    this.attention = null; // canvases of what is above the threshold and of the rest, or null where it is hidden
    this.maskRegion = new Region(0.37);
    this.attentionRegion = new Region(0.25);
    this.showMask = true;
    this.points = []; // of the open polygon, in image pixels
    this.cursor = null; // { x, y, size } in image pixels
    this.scale = 1; // CSS pixels an image pixel
    this.x = 0;
    this.y = 0;
    this.fitted = true;
    new ResizeObserver(() => this.#resized()).observe(canvas);
  }

  open(image, surroundings = null) {
    this.image = image;
    this.surroundings = surroundings;
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
    const { width, pixels } = mask;
    const data = this.maskContext.createImageData(right - left, bottom - top);
    const words = new Uint32Array(data.data.buffer);
    for (let y = top, at = 0; y < bottom; y++) {
      for (let x = left; x < right; x++, at++) {
        if (pixels[y * width + x]) words[at] = MASK_COLOUR | (255 << 24);
      }
    }
    this.maskContext.putImageData(data, left, top);
    this.maskRegion.stale = true;
    this.redraw();
  }

  // Shows a map of attention, { width, height, pixels }, over the image, outlined above the threshold; null hides it.
  paintAttention(map, threshold) {
    this.attention = null;
    if (map) {
      this.attention = {
        above: this.#canvas(map, (value) => (value > threshold ? 255 : 0)),
        below: this.#canvas(map, (value) => (value > threshold ? 0 : value * 0.2)),
      };
      this.attentionRegion.stale = true;
    }
    this.redraw();
  }

  // Returns a canvas in the attention's colour, of an opacity in [0, 255] for each value.
  #canvas({ width, height, pixels }, opacity) {
    const canvas = new OffscreenCanvas(width, height);
    const data = new ImageData(width, height);
    const words = new Uint32Array(data.data.buffer);
    for (let i = 0; i < pixels.length; i++) words[i] = ATTENTION_COLOUR | (opacity(pixels[i]) << 24);
    canvas.getContext("2d").putImageData(data, 0, 0);
    return canvas;
  }

  toImage(x, y) {
    return { x: (x - this.x) / this.scale, y: (y - this.y) / this.scale };
  }

  fit() {
    const { clientWidth, clientHeight } = this.canvas;
    if (!this.image || !clientWidth || !clientHeight) return;
    const shortest = Math.min(clientWidth, clientHeight);
    const margin = this.surroundings ? 0.2 * shortest : Math.min(32, 0.05 * shortest);
    this.scale = Math.min(
      (clientWidth - 2 * margin) / this.image.width, (clientHeight - 2 * margin) / this.image.height,
    );
    this.x = (clientWidth - this.image.width * this.scale) / 2;
    this.y = (clientHeight - this.image.height * this.scale) / 2;
    this.fitted = true;
    this.#moved();
  }

  // Enlarges around a point of the canvas.
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const scale = Math.min(64, Math.max(0.02, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.#moved();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.#moved();
  }

  #moved() {
    this.maskRegion.stale = this.attentionRegion.stale = true;
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
    this.#moved();
  }

  #draw() {
    const { context } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.image) return;
    this.#place(context);
    if (this.surroundings && this.showSurroundings) this.#drawSurroundings();
    context.drawImage(this.image, 0, 0);
    if (this.attention) {
      context.drawImage(this.attention.below, 0, 0, this.image.width, this.image.height);
      this.#drawRegion(this.attentionRegion, this.attention.above);
    }
    if (this.showMask) this.#drawRegion(this.maskRegion, this.maskCanvas);
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

  // From image pixels to the screen's, moved by so many CSS pixels.
  #place(context, dx = 0, dy = 0) {
    const ratio = devicePixelRatio;
    const scale = this.scale * ratio;
    context.setTransform(scale, 0, 0, scale, (this.x + dx) * ratio, (this.y + dy) * ratio);
    context.imageSmoothingEnabled = scale < 1;
  }

  #drawSurroundings() {
    const { context, image, surroundings: { bitmap, left, top, width } } = this;
    const scale = image.width / width;
    context.globalAlpha = 0.6;
    context.drawImage(bitmap, -left * scale, -top * scale, bitmap.width * scale, bitmap.height * scale);
    context.globalAlpha = 1;
    this.#outline(() => context.rect(0, 0, image.width, image.height));
  }

  #drawRegion(region, source) {
    region.draw(source, this.image, this.canvas, (context, dx, dy) => this.#place(context, dx, dy));
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.drawImage(region.canvas, 0, 0);
    this.#place(this.context);
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
