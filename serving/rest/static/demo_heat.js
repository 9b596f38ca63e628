// Takes the attention out of a heatmap, so that it can lie over the image itself, and finds the regions that it marks.

/**
 * Return the attention of a heatmap's pixels, in [0, 1].
 *
 * The heatmap is a grey image under colours of a known scale: what its channels differ by is the colour's alone.
 */
function attentionOf(pixels, scale) {
  const known = scale.colours.map(([red, green, blue], index) => {
    const opacity = (scale.strongest * (index + 0.5)) / scale.colours.length;
    return [opacity * (red - green), opacity * (green - blue)];
  });
  const attention = new Float32Array(pixels.length / 4);
  for (let i = 0; i < attention.length; i += 1) {
    const warm = pixels[4 * i] - pixels[4 * i + 1];
    const cold = pixels[4 * i + 1] - pixels[4 * i + 2];
    let nearest = 0;
    let least = Infinity;
    for (let index = 0; index < known.length; index += 1) {
      const distance = (known[index][0] - warm) ** 2 + (known[index][1] - cold) ** 2;
      if (distance < least) [least, nearest] = [distance, index];
    }
    attention[i] = (nearest + 0.5) / known.length;
  }
  return attention;
}

/** Paint attention on a square canvas: as on the heatmap, without the grey image. */
function paintAttention(canvas, attention, scale) {
  canvas.width = canvas.height = Math.sqrt(attention.length);
  const data = new ImageData(canvas.width, canvas.height);
  attention.forEach((value, i) => {
    const colour = scale.colours[Math.floor(value * scale.colours.length)];
    data.data.set([...colour, 255 * scale.strongest * value], 4 * i);
  });
  canvas.getContext("2d").putImageData(data, 0, 0);
}

/** Return where an image lies in the square that the model saw, in shares of it; beside it are its mirrors. */
function placeInSquare(width, height) {
  const [wide, high] = [width, height].map((length) => length / Math.max(width, height));
  return { left: (1 - wide) / 2, top: (1 - high) / 2, wide, high };
}

/** Lay a square canvas over a box of the image's shape so that the image's part of it fills the box. */
function layOver(canvas, width, height) {
  const { left, top, wide, high } = placeInSquare(width, height);
  Object.assign(canvas.style, {
    width: `${100 / wide}%`, height: `${100 / high}%`, left: `${(-100 * left) / wide}%`, top: `${(-100 * top) / high}%`,
  });
}

/**
 * Return the regions above the level, 8-connected, the most suspicious (score times area) first.
 *
 * Each has `box` (x, y, width, height in pixels of the image, as fine as the map), `share` of the image's area and
 * `score`, its mean attention; smaller ones than `scale.smallest` are left out.
 */
function regionsOf(attention, width, height, scale) {
  const side = Math.sqrt(attention.length);
  const { left, top, wide, high } = placeInSquare(width, height);
  const isInside = (column, row) =>
    column + 0.5 > left * side && column + 0.5 < (left + wide) * side && row + 0.5 > top * side && row + 0.5 < (top + high) * side;
  const open = new Uint8Array(attention.length);
  attention.forEach((value, i) => {
    open[i] = value > scale.level && isInside(i % side, Math.floor(i / side));
  });
  const toImage = (cell, border, share, length) =>
    Math.round(Math.min(1, Math.max(0, (cell / side - border) / share)) * length);
  const regions = [];
  for (let start = 0; start < open.length; start += 1) {
    if (!open[start]) continue;
    const cells = [start];
    open[start] = 0;
    for (let at = 0; at < cells.length; at += 1) {
      const [column, row] = [cells[at] % side, Math.floor(cells[at] / side)];
      for (let y = Math.max(0, row - 1); y <= Math.min(side - 1, row + 1); y += 1) {
        for (let x = Math.max(0, column - 1); x <= Math.min(side - 1, column + 1); x += 1) {
          if (open[y * side + x]) cells.push(y * side + x);
          open[y * side + x] = 0;
        }
      }
    }
    const columns = cells.map((cell) => cell % side);
    const rows = cells.map((cell) => Math.floor(cell / side));
    const [x, right] = [Math.min(...columns), Math.max(...columns) + 1].map((c) => toImage(c, left, wide, width));
    const [y, bottom] = [Math.min(...rows), Math.max(...rows) + 1].map((r) => toImage(r, top, high, height));
    const share = cells.length / (side * side * wide * high);
    const score = cells.reduce((sum, cell) => sum + attention[cell], 0) / cells.length;
    if (share >= scale.smallest) regions.push({ box: [x, y, right - x, bottom - y], share: Math.min(1, share), score });
  }
  return regions.sort((a, b) => b.score * b.share - a.score * a.share);
}
