// The verdict on a score at a threshold, and the reason for it.

const first = (value) => (Array.isArray(value) ? value[0] : value);

/** Write numbers with as few digits, from three on, as leave the first one on its side of each other one. */
function beside(...numbers) {
  for (let digits = 3; ; digits += 1) {
    const texts = numbers.map((number) => number.toFixed(digits));
    const order = ([value, ...others]) => others.map((other) => Math.sign(value - other)).join();
    if (order(texts.map(Number)) === order(numbers)) return texts;
  }
}

/**
 * Decide on an image, as lae_tf.metrics.verdict has it; models of before know no bounds and are never unsure.
 *
 * Returns `verdict`, `reason`, and between which scores the verdict is unsure: `from` and `to`.
 */
function decide(prediction, chosen = null) {
  const threshold = chosen ?? first(prediction.threshold);
  const [score, fakes, reals, rate] = ["score", "lowest_fake", "highest_real", "error_rate"].map((name) =>
    first(prediction[name])
  );
  const isFake = score >= threshold;
  const bound = isFake ? reals : fakes;
  const isKnown = bound >= 0 && bound <= 1; // the others rule nothing out
  const isSure = !isKnown || (isFake ? score > bound : score < bound);
  const [text, at, limit] = beside(score, threshold, ...(isKnown ? [bound] : []));
  const share = `${Number((100 * (1 - rate)).toPrecision(3))} % of validation’s`;
  const which = isFake ? `which ${share} real images do not exceed` : `which ${share} fakes reach`;
  let reason = `The score ${text} ${isFake ? "reaches" : "is below"} ${chosen === null ? "the" : "your"} threshold ${at}`;
  if (isKnown && isSure) reason += ` and is ${isFake ? "above" : "below"} ${limit}, ${which}`;
  if (!isSure) {
    const percent = Number((100 * rate).toPrecision(3));
    reason += `, but is not ${isFake ? "above" : "below"} ${limit}, ${which}: at ${percent} % errors the model cannot tell`;
  }
  return {
    verdict: isSure ? (isFake ? "fake" : "real") : "unsure",
    reason: `${reason}.`,
    from: Math.min(threshold, fakes ?? threshold),
    to: Math.max(threshold, reals ?? threshold),
  };
}
