"use strict";

const $ = (id) => document.getElementById(id);
let running = null; // the request in flight, and whatever waits for it
let shown = null; // object URL of the image on the page

/** Tell whether the model decodes a file as it stands; the browser turns the others into PNG. */
async function isSentAsItIs(file) {
  const head = new Uint8Array(await file.slice(0, 8).arrayBuffer());
  const starts = (...bytes) => bytes.every((byte, index) => head[index] === byte);
  return starts(0xff, 0xd8, 0xff) || starts(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
}

async function toPng(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name} is not an image that this browser can read.`);
  }
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error(`${file.name} is too large.`))), "image/png")
  );
}

function toBase64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error("The file cannot be read."));
    reader.readAsDataURL(blob);
  });
}

/** Ask the model for score and heatmap of one image. */
async function explain(file, signal) {
  const data = await toBase64((await isSentAsItIs(file)) ? file : await toPng(file));
  const headers = { "Content-Type": "application/json" };
  if ($("token").value) headers.Authorization = `Bearer ${$("token").value}`;
  const body = JSON.stringify({ signature_name: "explain", instances: [{ b64: data }] });
  const url = `/v1/models/${encodeURIComponent($("model").value)}:predict`;
  let response;
  try {
    response = await fetch(url, { method: "POST", headers, body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached. Is it still running?");
  }
  const text = await response.text();
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    answer = {};
  }
  if (response.ok && answer.predictions) return answer.predictions[0];
  const reasons = {
    401: "This server asks for an access token; enter it above.",
    413: `${file.name} is too large for this server.`,
    429: "The server is busy. Try again in a moment.",
    503: "The server is busy. Try again in a moment.",
  };
  throw new Error(reasons[response.status] || `The server refused the image: ${answer.error || response.status}`);
}

/** Write a number so that rounding does not take it to the other side of the threshold. */
function beside(value, threshold) {
  let digits = 3;
  while (Number(value.toFixed(digits)) >= threshold !== value >= threshold) digits += 1;
  return value.toFixed(digits);
}

const first = (value) => (Array.isArray(value) ? value[0] : value);
const place = (value) => `${100 * Math.min(1, Math.max(0, value))}%`;

/** Show the verdict and, on the meter, between which scores it is unsure; models of older versions have a label alone. */
function showVerdict(prediction) {
  const verdict = first(prediction.verdict ?? prediction.label);
  const [threshold, fake, real] = ["threshold", "lowest_fake", "highest_real"].map((name) => first(prediction[name]));
  const [from, to] = [Math.min(threshold, fake ?? threshold), Math.max(threshold, real ?? threshold)];
  $("label").textContent = verdict;
  $("label").className = verdict;
  $("doubt").hidden = verdict !== "unsure";
  const percent = Number((100 * first(prediction.error_rate)).toPrecision(3));
  $("doubt").textContent = `This model cannot tell at ${percent} % errors.`;
  $("zone").hidden = from === to;
  $("zone").style.left = place(from);
  $("zone").style.right = place(1 - to);
  return verdict;
}

function show(file, prediction, milliseconds) {
  const [score, threshold] = ["score", "threshold"].map((name) => first(prediction[name]));
  const verdict = showVerdict(prediction);
  if (shown) URL.revokeObjectURL(shown);
  shown = URL.createObjectURL(file);
  $("image").src = shown;
  $("heatmap").src = `data:image/png;base64,${first(prediction.heatmap_png_bytes).b64}`;
  $("name").textContent = file.name;
  const text = beside(score, threshold);
  $("score").textContent = text;
  $("threshold").textContent = threshold.toFixed(3);
  $("meter").setAttribute("aria-valuenow", text);
  $("meter").setAttribute("aria-valuetext", `${text}, ${verdict}`);
  $("needle").style.left = place(score);
  $("tick").style.left = place(threshold);
  $("logit").textContent = first(prediction.logit).toFixed(3);
  $("reconstruction").textContent = first(prediction.reconstruction_error).toFixed(4);
  $("time").textContent = `${Math.round(milliseconds)} ms`;
  $("result").hidden = false;
}

/** Give the heatmap, which the model made of a square, the shape of the image. */
$("image").addEventListener("load", () => {
  const ratio = $("image").naturalWidth / $("image").naturalHeight;
  $("heatmap").style.width = `${100 * Math.min(1, ratio)}%`;
  $("heatmap").style.height = `${100 * Math.min(1, 1 / ratio)}%`;
});

async function take(file) {
  if (!file) return;
  if (running) running.abort();
  const mine = (running = new AbortController());
  const began = performance.now();
  $("error").hidden = true;
  $("busy-name").textContent = file.name;
  $("busy").hidden = false;
  $("result").classList.add("stale");
  try {
    const prediction = await explain(file, mine.signal);
    if (running === mine) show(file, prediction, performance.now() - began);
  } catch (error) {
    if (running === mine) {
      $("result").hidden = true;
      $("error").textContent = error.message;
      $("error").hidden = false;
    }
  }
  if (running === mine) {
    running = null;
    $("busy").hidden = true;
    $("result").classList.remove("stale");
  }
}

$("file").addEventListener("change", () => {
  take($("file").files[0]);
  $("file").value = ""; // so that the same file can be chosen again
});
$("settings").addEventListener("submit", (event) => event.preventDefault());
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
  take(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => take(event.clipboardData.files[0]));
