// Brings one image to the server, and its answer back.

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

/** Ask a model for score and heatmap of one image; errors are sentences for the person. */
async function explain(file, model, token, signal) {
  const data = await toBase64((await isSentAsItIs(file)) ? file : await toPng(file));
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const body = JSON.stringify({ signature_name: "explain", instances: [{ b64: data }] });
  const url = `/v1/models/${encodeURIComponent(model)}:predict`;
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
    401: "This server asks for an access token; enter it above, then try again.",
    413: `${file.name} is too large for this server.`,
    429: "The server is busy. Try again in a moment.",
    503: "The server is busy. Try again in a moment.",
  };
  throw new Error(reasons[response.status] || `The server refused the image: ${answer.error || response.status}`);
}
