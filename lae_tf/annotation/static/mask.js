// A binary mask with strokes, polygons and undo. Pixels are exact: nothing is anti-aliased.

const MOST_REMEMBERED = 256e6; // bytes of undo; of the oldest actions no more is known then
const LEAST_CONTRAST = 16; // of 255: what differs by less in a box does not stand out

export class Mask {
  constructor(width, height, pixels) {
    this.width = width;
    this.height = height;
    this.pixels = pixels ?? new Uint8Array(width * height);
    this.undone = [];
    this.actions = [];
    this.before = null; // the pixels when the action under way began
    this.touched = null; // what it may have changed: left, top, right, bottom (exclusive)
  }

  get isEmpty() {
    return !this.pixels.includes(1);
  }

  begin() {
    this.before = this.pixels.slice();
    this.touched = null;
  }

  // Ends the action under way; returns the rectangle it changed, or null.
  commit() {
    const rectangle = this.touched;
    const before = rectangle && this.#cut(this.before, rectangle);
    const after = rectangle && this.#cut(this.pixels, rectangle);
    this.before = null;
    if (!rectangle || before.every((value, i) => value === after[i])) return null;
    this.actions.push({ rectangle, other: before });
    this.undone = [];
    let remembered = 0;
    const old = this.actions.findLastIndex(({ other }) => (remembered += other.length) > MOST_REMEMBERED);
    this.actions.splice(0, old + 1);
    return rectangle;
  }

  // Gives the action under way up; returns the rectangle to draw again, or null.
  cancel() {
    if (!this.before) return null;
    this.pixels = this.before;
    this.before = null;
    return this.touched;
  }

  undo() {
    return this.#exchange(this.actions, this.undone);
  }

  redo() {
    return this.#exchange(this.undone, this.actions);
  }

  // Takes an action from one list to the other; it remembers the pixels that are not on the mask.
  #exchange(from, to) {
    const action = from.pop();
    if (!action) return null;
    const { rectangle, other } = action;
    to.push({ rectangle, other: this.#cut(this.pixels, rectangle) });
    this.#paste(other, rectangle);
    return rectangle;
  }

  // Sets the pixels whose centre is within size / 2 of a segment, and those it begins and ends in.
  // Returns the rectangle that changed.
  stroke(from, to, size, value) {
    if (size <= 1) return this.#line(from, to, value);
    const radius = size / 2;
    const rectangle = this.#clip([
      Math.floor(Math.min(from.x, to.x) - radius), Math.floor(Math.min(from.y, to.y) - radius),
      Math.ceil(Math.max(from.x, to.x) + radius), Math.ceil(Math.max(from.y, to.y) + radius),
    ]);
    const [left, top, right, bottom] = rectangle;
    const dx = to.x - from.x;
    const dy = to.y - from.y;
    const squared = dx * dx + dy * dy;
    for (let row = top; row < bottom; row++) {
      for (let column = left; column < right; column++) {
        const x = column + 0.5 - from.x;
        const y = row + 0.5 - from.y;
        const along = squared ? Math.min(1, Math.max(0, (x * dx + y * dy) / squared)) : 0;
        const distance = (x - along * dx) ** 2 + (y - along * dy) ** 2;
        if (distance <= radius * radius) this.pixels[row * this.width + column] = value;
      }
    }
    return this.#touch(rectangle);
  }

  // Sets the pixels whose centre is inside by the even-odd rule.
  polygon(points) {
    const xs = points.map((point) => point.x);
    const ys = points.map((point) => point.y);
    const rectangle = this.#clip([
      Math.floor(Math.min(...xs)), Math.floor(Math.min(...ys)),
      Math.ceil(Math.max(...xs)), Math.ceil(Math.max(...ys)),
    ]);
    for (let row = rectangle[1]; row < rectangle[3]; row++) {
      const y = row + 0.5;
      const crossings = [];
      points.forEach((a, i) => {
        const b = points[(i + 1) % points.length];
        if (a.y > y !== b.y > y) crossings.push(a.x + ((y - a.y) * (b.x - a.x)) / (b.y - a.y));
      });
      crossings.sort((a, b) => a - b);
      for (let i = 0; i < crossings.length; i += 2) {
        const first = Math.max(rectangle[0], Math.ceil(crossings[i] - 0.5));
        const last = Math.min(rectangle[2], Math.ceil(crossings[i + 1] - 0.5));
        if (first < last) this.pixels.fill(1, row * this.width + first, row * this.width + last);
      }
    }
    return this.#touch(rectangle);
  }

  // Sets the pixels of a box between two corners; where values are given, those that stand out among them.
  box(from, to, values) {
    const rectangle = this.#clip([
      Math.floor(Math.min(from.x, to.x)), Math.floor(Math.min(from.y, to.y)),
      Math.ceil(Math.max(from.x, to.x)), Math.ceil(Math.max(from.y, to.y)),
    ]);
    const [left, top, right, bottom] = rectangle;
    const threshold = values ? this.#standsOut(values, rectangle) : -1;
    for (let row = top; row < bottom; row++) {
      for (let i = row * this.width + left; i < row * this.width + right; i++) {
        if (threshold < 0 || values[i] > threshold) this.pixels[i] = 1;
      }
    }
    return this.#touch(rectangle);
  }

  // Adds every pixel whose value exceeds a threshold.
  addAbove(values, threshold) {
    for (let i = 0; i < values.length; i++) if (values[i] > threshold) this.pixels[i] = 1;
    return this.#touch([0, 0, this.width, this.height]);
  }

  // Returns the value, in [0, 255], that parts those in a rectangle best (Otsu 1979); -1 where they are nearly alike.
  #standsOut(values, [left, top, right, bottom]) {
    const counts = new Float64Array(256);
    for (let row = top; row < bottom; row++) {
      for (let i = row * this.width + left; i < row * this.width + right; i++) counts[values[i]]++;
    }
    const lowest = counts.findIndex(Boolean);
    if (counts.findLastIndex(Boolean) - lowest < LEAST_CONTRAST) return -1;
    const total = counts.reduce((sum, count) => sum + count, 0);
    const mean = counts.reduce((sum, count, value) => sum + count * value, 0) / total;
    let best = { variance: 0, threshold: lowest };
    let share = 0;
    let below = 0; // the mean of the lower values times their share
    counts.forEach((count, value) => {
      share += count / total;
      below += (count / total) * value;
      const variance = (mean * share - below) ** 2 / (share * (1 - share));
      if (share < 1 && variance > best.variance) best = { variance, threshold: value };
    });
    return best.threshold;
  }

  #line(from, to, value) {
    const steps = Math.max(1, Math.ceil(2 * Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y))));
    for (let step = 0; step <= steps; step++) {
      const column = Math.floor(from.x + ((to.x - from.x) * step) / steps);
      const row = Math.floor(from.y + ((to.y - from.y) * step) / steps);
      if (column >= 0 && row >= 0 && column < this.width && row < this.height) {
        this.pixels[row * this.width + column] = value;
      }
    }
    return this.#touch(this.#clip([
      Math.floor(Math.min(from.x, to.x)), Math.floor(Math.min(from.y, to.y)),
      Math.floor(Math.max(from.x, to.x)) + 1, Math.floor(Math.max(from.y, to.y)) + 1,
    ]));
  }

  #touch(rectangle) {
    const [left, top, right, bottom] = rectangle;
    if (left >= right || top >= bottom) return null;
    const old = this.touched ?? rectangle;
    this.touched = [
      Math.min(old[0], left), Math.min(old[1], top), Math.max(old[2], right), Math.max(old[3], bottom),
    ];
    return rectangle;
  }

  #clip([left, top, right, bottom]) {
    return [Math.max(0, left), Math.max(0, top), Math.min(this.width, right), Math.min(this.height, bottom)];
  }

  #cut(pixels, [left, top, right, bottom]) {
    const width = right - left;
    const patch = new Uint8Array(width * (bottom - top));
    for (let row = top; row < bottom; row++) {
      const start = row * this.width + left;
      patch.set(pixels.subarray(start, start + width), (row - top) * width);
    }
    return patch;
  }

  #paste(patch, [left, top, right, bottom]) {
    const width = right - left;
    for (let row = top; row < bottom; row++) {
      this.pixels.set(patch.subarray((row - top) * width, (row - top + 1) * width), row * this.width + left);
    }
  }
}
