// The page: one card for each image, asked one after the other, and the sliders that all cards go by.

const $ = (id) => document.getElementById(id);
const SCALE = JSON.parse($("scale").textContent);
const cards = [];
let chosen = null; // the threshold that the person set; null: the model's own
let asking = Promise.resolve();
let stop = new AbortController();

class Card {
  constructor(file) {
    this.file = file;
    this.prediction = null;
    this.element = $("card").content.firstElementChild.cloneNode(true);
    this.part("name").textContent = file.name;
    this.image = this.part("image");
    this.image.addEventListener("load", () => this.part("figure").hidden = false);
    this.image.src = URL.createObjectURL(file);
    this.part("again").addEventListener("click", () => this.queue());
    this.part("own-size").addEventListener("click", () => this.toggleSize());
    this.setState("waiting");
    $("cards").append(this.element);
  }

  part(name) {
    return this.element.querySelector(`.${name}`);
  }

  setState(state) {
    this.element.dataset.state = state;
    this.part("label").textContent = { waiting: "Waiting", asking: "Looking", failed: "No verdict" }[state] ?? "";
  }

  queue() {
    const { signal } = stop;
    this.setState("waiting");
    asking = asking.then(() => signal.aborted || this.ask(signal));
  }

  async ask(signal) {
    this.setState("asking");
    const began = performance.now();
    try {
      const prediction = await explain(this.file, $("model").value, $("token").value, signal);
      await this.show(prediction, performance.now() - began);
    } catch (error) {
      this.part("error").textContent = error.message;
      this.setState("failed");
    }
    refresh();
  }

  async show(prediction, milliseconds) {
    await this.image.decode().catch(() => null); // what the browser cannot show has a verdict all the same
    const { naturalWidth: width, naturalHeight: height } = this.image;
    if (width) await this.showHeat(prediction, width, height);
    this.part("logit").textContent = first(prediction.logit).toFixed(3);
    this.part("reconstruction").textContent = first(prediction.reconstruction_error).toFixed(4);
    this.part("time").textContent = `${Math.round(milliseconds)} ms`;
    this.prediction = prediction;
    this.setState("done");
    this.decide();
  }

  async showHeat(prediction, width, height) {
    const bytes = Uint8Array.from(atob(first(prediction.heatmap_png_bytes).b64), (letter) => letter.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none" });
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const attention = attentionOf(context.getImageData(0, 0, bitmap.width, bitmap.height).data, SCALE);
    paintAttention(this.part("heat"), attention, bitmap.width, SCALE);
    layOver(this.part("heat"), width, height);
    this.part("stack").style.setProperty("--ratio", width / height);
    this.part("stack").style.setProperty("--width", `${width}px`);
    this.part("size").textContent = `${width} × ${height} pixels`;
    this.showRegions(regionsOf({ attention, columns: bitmap.width }, width, height, SCALE), width, height);
  }

  showRegions(regions, width, height) {
    this.part("boxes").replaceChildren();
    this.part("regions").replaceChildren();
    this.part("no-regions").hidden = regions.length > 0;
    regions.forEach(({ box: [x, y, across, down], share, score }, i) => {
      const frame = document.createElement("div");
      frame.textContent = i + 1;
      Object.assign(frame.style, {
        left: `${(100 * x) / width}%`, top: `${(100 * y) / height}%`,
        width: `${(100 * across) / width}%`, height: `${(100 * down) / height}%`,
      });
      this.part("boxes").append(frame);
      const line = document.createElement("li");
      line.textContent = `${across} × ${down} at (${x}, ${y}), ${(100 * share).toFixed(1)} % of the image, attention ${score.toFixed(2)}`;
      this.part("regions").append(line);
    });
  }

  toggleSize() {
    const isOwn = this.part("figure").classList.toggle("own");
    this.part("own-size").textContent = isOwn ? "Fit" : "Own size";
  }

  /** Label the image anew; nothing is asked. */
  decide() {
    if (!this.prediction) return;
    const { verdict, reason, from, to } = decide(this.prediction, chosen);
    const score = first(this.prediction.score);
    const threshold = chosen ?? first(this.prediction.threshold);
    const place = (value) => `${100 * Math.min(1, Math.max(0, value))}%`;
    this.element.dataset.verdict = verdict;
    this.part("label").textContent = verdict;
    this.part("reason").textContent = reason;
    [this.part("score").textContent] = beside(score, threshold);
    this.part("meter").setAttribute("aria-valuenow", score);
    this.part("meter").setAttribute("aria-valuetext", `${score.toFixed(3)}, ${verdict}`);
    this.part("needle").style.left = place(score);
    this.part("tick").style.left = place(threshold);
    this.part("zone").hidden = from === to;
    this.part("zone").style.left = place(from);
    this.part("zone").style.right = place(1 - to);
  }
}

/** Show what all cards together say, and the threshold that they go by. */
function refresh() {
  const answered = cards.filter(({ prediction }) => prediction);
  const own = answered.length ? first(answered[0].prediction.threshold) : 0.5;
  $("threshold").value = chosen ?? own;
  $("threshold-value").textContent = (chosen ?? own).toFixed(3);
  $("reset").disabled = chosen === null;
  for (const card of cards) card.decide();
  const counted = ["fake", "unsure", "real"].map((verdict) => [
    answered.filter(({ element }) => element.dataset.verdict === verdict).length, verdict,
  ]);
  const failed = cards.filter(({ element }) => element.dataset.state === "failed").length;
  const parts = [...counted, [failed, "without a verdict"]].filter(([count]) => count);
  $("summary").textContent = parts.map(([count, what]) => `${count} ${what}`).join(", ");
  $("sliders").hidden = !cards.length;
}

function take(files) {
  for (const file of files) {
    const card = new Card(file);
    cards.push(card);
    card.queue();
  }
  refresh();
}

function clear() {
  stop.abort();
  stop = new AbortController();
  for (const { image } of cards) URL.revokeObjectURL(image.src);
  cards.length = 0;
  $("cards").replaceChildren();
  refresh();
}

$("file").addEventListener("change", () => {
  take($("file").files);
  $("file").value = ""; // so that the same file can be chosen again
});
$("threshold").addEventListener("input", () => {
  chosen = Number($("threshold").value);
  refresh();
});
$("reset").addEventListener("click", () => {
  chosen = null;
  refresh();
});
$("opacity").addEventListener("input", () =>
  document.documentElement.style.setProperty("--opacity", $("opacity").value)
);
$("clear").addEventListener("click", clear);
for (const id of ["settings", "sliders"]) $(id).addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  take(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => take(event.clipboardData.files));
