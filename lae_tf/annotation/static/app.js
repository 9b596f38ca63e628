// Ties the page together: the image at hand, the tools, the verdicts and the keys.

import { Clock } from "/static/clock.js";
import { Mask } from "/static/mask.js";
import { Saver, addSeconds, getBitmap, getItems, getMask, putVerdict } from "/static/server.js";
import { View } from "/static/view.js";

const $ = (id) => document.getElementById(id);
const CLOSING_DISTANCE = 10; // CSS pixels from a polygon's first point
const LARGEST_MAP = 1024; // pixels of its longer side: a larger map of attention would show no more
const VERDICT_WORDS = { done: "Done", not_fake: "Not a fake", skipped: "Skipped" };

const view = new View($("view"), $("mask"));
const saver = new Saver(reportSaving, maskSaved, maskRefused);
const clock = new Clock(addSeconds);
const pointers = new Map(); // pointers that are down, by id
let items = [];
let index = -1;
let mask = null;
let attention = null; // { bitmap, width, height, pixels }: the map as it came, and the bytes that are shown
let wanted = 0.5; // the threshold that the person set, in [0, 1]
let threshold = wanted; // the one that serves this image
let tool = "brush";
let panning = false; // Space is held
let gesture = null; // what the pointers are doing: "stroke", "point", "box", "pan", "pinch"
let last = null; // the stroke's last point
let corner = null; // where the box began
let sized = false; // the brush has its first size
let busy = false; // an image is being opened or a verdict stored

// One table gives the buttons, the keys and the legend. While an image opens, nothing is done to it that was
// meant for the one before: `needsImage` commands need it open, `needsRest` ones only that nothing is under way.
const COMMANDS = {
  "brush": { keys: ["b"], label: "brush", run: () => setTool("brush") },
  "eraser": { keys: ["e"], label: "eraser", run: () => setTool("eraser") },
  "polygon": { keys: ["p"], label: "polygon", run: () => setTool("polygon") },
  "box": { keys: ["r"], label: "box", run: () => setTool("box") },
  "smaller": { keys: ["[", ","], label: "smaller", run: () => setSize(size() - step()) },
  "larger": { keys: ["]", "."], label: "larger", run: () => setSize(size() + step()) },
  "undo": { keys: ["z"], label: "undo", needsImage: true, run: undo },
  "redo": { keys: ["y"], label: "redo", needsImage: true, run: () => changed(mask.redo()) },
  "attention": { keys: ["a"], label: "attention", needsImage: true, run: () => showAttention(!view.attention) },
  "use-attention": { keys: ["u"], label: "use attention", needsImage: true, run: useAttention },
  "surroundings": { keys: ["c"], label: "surroundings", needsImage: true, run: toggleSurroundings },
  "hide": { keys: ["h"], label: "hide mask", run: toggleMask },
  "zoom-in": { keys: ["+", "="], label: "zoom in", run: () => view.zoom(1.4) },
  "zoom-out": { keys: ["-"], label: "zoom out", run: () => view.zoom(1 / 1.4) },
  "fit": { keys: ["0"], label: "fit", run: () => view.fit() },
  "done": { keys: ["Enter"], label: "done, next", needsImage: true, run: done },
  "not-fake": { keys: ["n"], label: "not a fake", needsRest: true, run: () => decide("not_fake") },
  "skip": { keys: ["s"], label: "skip", needsRest: true, run: () => decide("skipped") },
  "previous": { keys: ["ArrowLeft"], label: "previous", needsRest: true, run: () => open(index - 1) },
  "next": { keys: ["ArrowRight"], label: "next", needsRest: true, run: () => open(index + 1) },
  "cancel": { keys: ["Escape"], label: "drop polygon", run: () => setPoints([]) },
  "help": { keys: ["?"], label: "help", run: () => $("help").showModal() },
};
const KEY_NAMES = { Enter: "⏎", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc" };

async function start() {
  const buttons = [...document.querySelectorAll("[data-command]")];
  for (const button of buttons) {
    const { keys } = COMMANDS[button.dataset.command];
    if (!button.ariaLabel) button.append(keyCap(keys[0]));
    button.addEventListener("click", (event) => {
      if (event.detail) button.blur(); // clicked with a pointer: keys stay with the drawing
      perform(button.dataset.command);
    });
  }
  $("open-help").addEventListener("click", () => perform("help"));
  const named = new Set(buttons.map((button) => button.dataset.command));
  for (const [name, { keys, label }] of [...Object.entries(COMMANDS), ["move", { keys: ["Space"], label: "move" }]]) {
    addKey($("help-keys"), keys[0], label);
    if (!named.has(name)) addKey($("legend"), keys[0], label); // the others are on their buttons
  }
  $("size").addEventListener("input", () => setSize(size()));
  $("threshold").addEventListener("input", () => {
    wanted = threshold = Number($("threshold").value);
    showAttention(true);
  });
  setTool("brush");
  items = await getItems();
  $("strip").append(...items.map((item, i) => {
    const square = document.createElement("button");
    square.title = `${i + 1}: ${item.name}`;
    square.setAttribute("aria-label", square.title);
    square.addEventListener("click", () => open(i));
    return square;
  }));
  const skipped = items.findIndex(({ verdict }) => verdict === "skipped");
  await open(nextUndecided(-1) ?? Math.max(0, skipped));
}

function addKey(list, key, label) {
  const term = document.createElement("dt");
  term.append(keyCap(key));
  const description = document.createElement("dd");
  description.textContent = label;
  list.append(term, description);
}

function keyCap(key) {
  const cap = document.createElement("kbd");
  cap.textContent = KEY_NAMES[key] ?? (key.length === 1 ? key.toUpperCase() : key);
  return cap;
}

function perform(name) {
  const command = COMMANDS[name];
  if (busy && (command.needsImage || command.needsRest)) return;
  if (command.needsImage && !mask) return;
  message("");
  command.run();
}

// ---- Images and verdicts

async function open(wanted) {
  if (busy || wanted < 0 || wanted >= items.length) return;
  setBusy(true);
  try {
    if (await leave()) index = wanted; // else this image once more, with what is on disk
    mask = attention = null;
    clock.stop();
    view.open(null);
    const item = items[index];
    $("name").textContent = item.name;
    $("reason").textContent = item.reason;
    const image = await getBitmap("images", index);
    const drawn = await getMask(index);
    const pixels = drawn.bitmap && values(drawn.bitmap, image).map((value) => (value > 127 ? 1 : 0));
    saver.revision = drawn.revision;
    item.mask = Boolean(drawn.bitmap);
    attention = item.attention ? mapOver(image, await getBitmap("attention", index)) : null;
    setThreshold();
    view.open(image, await surroundingsOf(item));
    mask = new Mask(image.width, image.height, pixels);
    view.paint(mask);
    clock.start(index);
    fitSize(image);
    if (!item.mask && !item.verdict) showAttention(true);
  } catch (error) {
    message(`This image cannot be shown: ${error.message}`);
  } finally {
    setBusy(false);
    refresh();
  }
}

// What lies around an image that was cut from a larger one; without it the image is shown alone.
async function surroundingsOf({ surroundings }) {
  if (!surroundings) return null;
  const bitmap = await getBitmap("surroundings", index).catch(() => null);
  return bitmap && { ...surroundings, bitmap };
}

function setBusy(value) {
  busy = value;
  $("stage").setAttribute("aria-busy", value);
}

// Everything drawn is on disk before another image is opened; returns false where that was refused.
async function leave() {
  if (gesture === "stroke") endStroke();
  if (gesture === "box") gesture = null;
  setPoints([]);
  return saver.flush();
}

// Returns a map of the image's shape, and of its size where that is small.
function mapOver(image, bitmap) {
  const scale = Math.min(1, LARGEST_MAP / Math.max(image.width, image.height));
  const [width, height] = [image.width, image.height].map((length) => Math.max(1, Math.round(scale * length)));
  return { bitmap, width, height, pixels: values(bitmap, { width, height }) };
}

// Returns the first channel of a picture, brought to a size bilinearly, as bytes.
function values(bitmap, { width, height }) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const bytes = new Uint8Array(width * height);
  for (let i = 0; i < bytes.length; i++) bytes[i] = data[4 * i];
  return bytes;
}

function nextUndecided(after) {
  const order = items.map((_, i) => (after + 1 + i) % items.length);
  return order.find((i) => !items[i].verdict) ?? null;
}

function done() {
  if (view.points.length >= 3) closePolygon();
  if (mask.isEmpty) {
    message("Nothing is drawn. Draw over the forged region, or choose “Not a fake” or “Skip”.");
    return;
  }
  decide("done");
}

async function decide(verdict) {
  setBusy(true);
  let kept = false;
  try {
    kept = await leave();
    if (kept) items[index].verdict = await putVerdict(index, verdict); // of what its author has seen
  } catch (error) {
    message(`Not stored: ${error.message}`);
    return;
  } finally {
    setBusy(false);
    refresh();
  }
  const next = kept ? nextUndecided(index) : index;
  if (next !== null) await open(next);
  else message("Every image is decided. Close this page, end the command with Ctrl+C, then: lae-tf import-masks", "good");
}

function maskSaved(at, answer) {
  items[at].mask = answer.mask;
  items[at].verdict = answer.verdict;
  refresh();
}

// The image is opened anew, with what is on disk: another tab may have drawn on it, or its file may be gone.
async function maskRefused(at, problem) {
  $("saved").dataset.state = "failed";
  $("saved").textContent = "Not saved";
  if (at === index && !busy) await open(index);
  message(`The last stroke is not saved: ${problem}. What is stored is shown now.`);
}

function reportSaving(state, problem) {
  if ($("saved").dataset.state === "failed" && state === "saved") message("");
  $("saved").dataset.state = state;
  $("saved").textContent = { saving: "Saving", saved: "Saved", failed: "Not saved" }[state];
  if (problem) message(`Not saved (${problem}). Is the command still running? Trying again; keep this page open.`);
}

function message(text, kind = "warning") {
  $("message").textContent = text;
  $("message").dataset.kind = kind;
  $("message").hidden = !text;
}

function refresh() {
  const item = items[index];
  const count = (wanted) => items.filter(({ verdict }) => verdict === wanted).length;
  const [drawn, notFake, skipped] = ["done", "not_fake", "skipped"].map(count);
  $("progress-text").textContent = `${drawn} of ${items.length} drawn` // only these are masks
    + (notFake ? `, ${notFake} not a fake` : "") + (skipped ? `, ${skipped} skipped` : "");
  $("progress").max = items.length;
  $("progress").value = drawn + notFake;
  $("badge").hidden = !item.verdict;
  $("badge").textContent = VERDICT_WORDS[item.verdict] ?? "";
  $("badge").dataset.verdict = item.verdict ?? "";
  $("undo").disabled = !(mask?.actions.length || view.points.length);
  $("redo").disabled = !mask?.undone.length;
  $("previous").disabled = index === 0;
  $("next").disabled = index === items.length - 1;
  $("attention").disabled = $("use-attention").disabled = $("threshold").disabled = !attention;
  $("surroundings").disabled = !view.surroundings;
  $("surroundings").setAttribute("aria-pressed", Boolean(view.surroundings && view.showSurroundings));
  $("attention").setAttribute("aria-pressed", Boolean(view.attention));
  $("not-fake").setAttribute("aria-pressed", item.verdict === "not_fake");
  $("skip").setAttribute("aria-pressed", item.verdict === "skipped");
  [...$("strip").children].forEach((square, i) => {
    square.dataset.verdict = items[i].verdict ?? (items[i].mask ? "drawn" : "");
    square.setAttribute("aria-current", i === index);
  });
}

// ---- Tools

function setTool(name) {
  tool = name;
  setPoints([]);
  for (const each of ["brush", "eraser", "polygon", "box"]) $(each).setAttribute("aria-pressed", each === tool);
}

function size() {
  return Number($("size").value);
}

function step() {
  return Math.max(1, Math.round(size() / 6));
}

// The brush may be as large as a quarter of the image, and begins as a sixteenth of the first one.
function fitSize({ width, height }) {
  const side = Math.max(width, height);
  $("size").max = Math.max(20, Math.round(side / 4));
  setSize(sized ? size() : Math.max(2, Math.round(side / 16)));
  sized = true;
}

function setSize(value) {
  $("size").value = value;
  $("size-value").textContent = `${size()} px`;
  if (view.cursor?.size) view.cursor.size = size();
  view.redraw();
}

function toggleMask() {
  view.showMask = !view.showMask;
  $("hide").setAttribute("aria-pressed", !view.showMask);
  view.redraw();
}

function toggleSurroundings() {
  view.showSurroundings = !view.showSurroundings;
  view.redraw();
  refresh();
}

// The threshold that the person set, or, where attention stays below it, half the image's own maximum.
function setThreshold() {
  const highest = peak();
  threshold = highest > wanted || !highest ? wanted : highest / 2;
  $("threshold").value = threshold;
  $("threshold-value").textContent = threshold.toFixed(2);
}

function peak() {
  return attention ? attention.pixels.reduce((most, value) => Math.max(most, value), 0) / 255 : 0;
}

function showAttention(shown) {
  $("threshold-value").textContent = threshold.toFixed(2);
  if (!attention) return;
  view.paintAttention(shown ? attention : null, 255 * threshold);
  $("attention").setAttribute("aria-pressed", shown);
}

function useAttention() {
  if (!attention) return;
  const highest = peak();
  if (!highest) {
    message("The model attends to nothing in this image: there is nothing to start from.");
    return;
  }
  if (highest <= threshold) setThreshold();
  mask.begin();
  mask.addAbove(values(attention.bitmap, mask), 255 * threshold);
  changed(mask.commit());
  showAttention(false);
  if (threshold !== wanted) {
    message(`Attention stays at or below ${highest.toFixed(2)} here, and so never exceeds ${wanted.toFixed(2)}: `
      + `the start is what exceeds half of that, ${threshold.toFixed(2)}. Correct it.`);
  }
}

function undo() {
  if (view.points.length) setPoints(view.points.slice(0, -1));
  else changed(mask.undo());
}

// Shows and saves what an action changed.
function changed(rectangle) {
  if (rectangle) {
    view.paint(mask, rectangle);
    saver.save(index, mask);
  }
  refresh();
}

function setPoints(points) {
  view.points = points;
  view.redraw();
  if (items[index]) refresh();
}

function addPoint(point) {
  const first = view.points[0];
  const near = first && Math.hypot(point.x - first.x, point.y - first.y) * view.scale < CLOSING_DISTANCE;
  if (near && view.points.length >= 3) closePolygon();
  else if (!near) setPoints([...view.points, point]);
}

function closePolygon() {
  mask.begin();
  mask.polygon(view.points);
  view.points = [];
  changed(mask.commit());
}

// ---- Pointers

function position(event) {
  const { left, top } = $("view").getBoundingClientRect();
  return { x: event.clientX - left, y: event.clientY - top };
}

function pointerDown(event) {
  if (!mask || busy) return;
  event.preventDefault();
  document.activeElement?.blur(); // keys belong to the drawing again
  $("view").setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, position(event));
  message("");
  if (pointers.size === 2) {
    if (gesture === "stroke") {
      const rectangle = mask.cancel();
      if (rectangle) view.paint(mask, rectangle);
    }
    if (gesture === "box") setPoints([]);
    gesture = "pinch";
  } else if (event.button === 1 || panning) {
    gesture = "pan";
  } else if (event.button === 0 && pointers.size === 1) {
    const point = view.toImage(position(event).x, position(event).y);
    if (tool === "polygon") {
      gesture = "point";
      last = point;
    } else if (tool === "box") {
      gesture = "box";
      corner = last = point;
    } else {
      gesture = "stroke";
      last = point;
      mask.begin();
      strokeTo(point);
    }
  }
}

function pointerMove(event) {
  const at = position(event);
  const point = view.toImage(at.x, at.y);
  const ring = tool === "brush" || tool === "eraser" ? size() : 0;
  view.cursor = mask && event.pointerType !== "touch" ? { ...point, size: ring } : null;
  view.redraw();
  const before = pointers.get(event.pointerId);
  if (!before) return;
  if (gesture === "pinch") {
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      view.zoom(distance(at, other) / Math.max(1, distance(before, other)), (at.x + other.x) / 2, (at.y + other.y) / 2);
      view.pan((at.x - before.x) / 2, (at.y - before.y) / 2);
    }
  } else if (gesture === "pan") {
    view.pan(at.x - before.x, at.y - before.y);
  } else if (gesture === "stroke") {
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) {
      const through = position(each);
      strokeTo(view.toImage(through.x, through.y));
    }
  } else if (gesture === "point") {
    last = point;
  } else if (gesture === "box") {
    last = point;
    // From this corner round to the one beside it: the line to the pointer closes it.
    setPoints([point, { x: corner.x, y: point.y }, corner, { x: point.x, y: corner.y }]);
  }
  pointers.set(event.pointerId, at);
}

function pointerUp(event) {
  if (!pointers.delete(event.pointerId)) return;
  if (gesture === "stroke") endStroke();
  if (gesture === "point" && event.type === "pointerup") addPoint(last);
  if (gesture === "box") endBox(event.type === "pointerup");
  if (!pointers.size) gesture = null;
}

function strokeTo(point) {
  const rectangle = mask.stroke(last, point, size(), tool === "eraser" ? 0 : 1);
  last = point;
  if (rectangle) view.paint(mask, rectangle);
}

function endStroke() {
  gesture = null;
  changed(mask.commit());
}

function endBox(isWanted) {
  gesture = null;
  setPoints([]);
  if (!isWanted || corner === last) return;
  mask.begin();
  mask.box(corner, last, attention && values(attention.bitmap, mask));
  changed(mask.commit());
}

function distance(a, b) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}

for (const id of ["size", "threshold"]) $(id).addEventListener("pointerup", () => $(id).blur());
$("view").addEventListener("pointerdown", pointerDown);
$("view").addEventListener("pointermove", pointerMove);
$("view").addEventListener("pointerup", pointerUp);
$("view").addEventListener("pointercancel", pointerUp);
$("view").addEventListener("pointerleave", () => { view.cursor = null; view.redraw(); });
$("view").addEventListener("dblclick", () => { if (view.points.length >= 3) closePolygon(); });
$("view").addEventListener("wheel", (event) => {
  event.preventDefault();
  const at = position(event);
  view.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), at.x, at.y);
}, { passive: false });

// ---- Keys

window.addEventListener("keydown", (event) => {
  if ($("help").open || event.altKey) return;
  if (event.key === " ") {
    if (event.target instanceof HTMLButtonElement) return;
    panning = true;
    $("view").style.cursor = "grab";
    event.preventDefault();
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  let name = Object.keys(COMMANDS).find((each) => COMMANDS[each].keys.includes(key));
  if (event.ctrlKey || event.metaKey) {
    if (key !== "z" && key !== "y") return;
    name = key === "y" || event.shiftKey ? "redo" : "undo";
  }
  const { target } = event;
  if (target instanceof HTMLButtonElement && key === "Enter") return;
  if (target instanceof HTMLInputElement && key.startsWith("Arrow")) return;
  if (!name) return;
  event.preventDefault();
  if (name === "done" && tool === "polygon" && view.points.length >= 3) closePolygon();
  else perform(name);
});
window.addEventListener("keyup", (event) => {
  if (event.key !== " ") return;
  panning = false;
  $("view").style.cursor = "";
});
window.addEventListener("beforeunload", (event) => {
  if (!saver.isIdle) event.preventDefault();
});

start().catch((error) => message(`The page could not start: ${error.message}`));
