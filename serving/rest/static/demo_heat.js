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

/** Paint attention, in rows of so many columns, on a canvas: as on the heatmap, without the grey image. */
function paintAttention(canvas, attention, columns, scale) {
  [canvas.width, canvas.height] = [columns, attention.length / columns];
  const data = new ImageData(canvas.width, canvas.height);
  attention.forEach((value, i) => {
    const colour = scale.colours[Math.floor(value * scale.colours.length)];
    data.data.set([...colour, 255 * scale.strongest * value], 4 * i);
  });
  canvas.getContext("2d").putImageData(data, 0, 0);
}

/**
 * Return where an image lies in a map, in shares of it: all over it, where the map has the image's shape, or in the middle
 * of the square that the model saw, with its mirrors beside it.
 */
function placeInMap(columns, rows, width, height) {
  if (columns !== rows) return { left: 0, top: 0, wide: 1, high: 1 };
  const [wide, high] = [width, height].map((length) => length / Math.max(width, height));
  return { left: (1 - wide) / 2, top: (1 - high) / 2, wide, high };
}

/** Lay a map's canvas over a box of the image's shape so that the image's part of it fills the box. */
function layOver(canvas, width, height) {
  const { left, top, wide, high } = placeInMap(canvas.width, canvas.height, width, height);
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
function regionsOf({ attention, columns: across }, width, height, scale) {
  const down = attention.length / across;
  const { left, top, wide, high } = placeInMap(across, down, width, height);
  const isBetween = (cell, count, border, share) => cell + 0.5 > border * count && cell + 0.5 < (border + share) * count;
  const open = new Uint8Array(attention.length);
  attention.forEach((value, i) => {
    const isInside = isBetween(i % across, across, left, wide) && isBetween(Math.floor(i / across), down, top, high);
    open[i] = value > scale.level && isInside;
  });
  const toImage = (cell, count, border, share, length) =>
    Math.round(Math.min(1, Math.max(0, (cell / count - border) / share)) * length);
  const regions = [];
  for (let start = 0; start < open.length; start += 1) {
    if (!open[start]) continue;
    const cells = [start];
    open[start] = 0;
    for (let at = 0; at < cells.length; at += 1) {
      const [column, row] = [cells[at] % across, Math.floor(cells[at] / across)];
      for (let y = Math.max(0, row - 1); y <= Math.min(down - 1, row + 1); y += 1) {
        for (let x = Math.max(0, column - 1); x <= Math.min(across - 1, column + 1); x += 1) {
          if (open[y * across + x]) cells.push(y * across + x);
          open[y * across + x] = 0;
        }
      }
    }
    const [firstColumn, lastColumn] = ends(cells.map((cell) => cell % across));
    const [firstRow, lastRow] = ends(cells.map((cell) => Math.floor(cell / across)));
    const [x, right] = [firstColumn, lastColumn + 1].map((cell) => toImage(cell, across, left, wide, width));
    const [y, bottom] = [firstRow, lastRow + 1].map((cell) => toImage(cell, down, top, high, height));
    const share = cells.length / (attention.length * wide * high);
    const score = cells.reduce((sum, cell) => sum + attention[cell], 0) / cells.length;
    if (share >= scale.smallest) regions.push({ box: [x, y, right - x, bottom - y], share: Math.min(1, share), score });
  }
  return regions.sort((a, b) => b.score * b.share - a.score * a.share);
}

/** Return the smallest and the largest of many numbers, too many for the arguments of Math.min. */
function ends(numbers) {
  return numbers.reduce(([low, high], one) => [Math.min(low, one), Math.max(high, one)], [Infinity, -Infinity]);
}
