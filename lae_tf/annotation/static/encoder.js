// A worker that makes PNG files of masks: the page stays free while a large one is encoded.

// White on black, opaque: a canvas would not keep colours under transparency.
async function encode({ width, height, pixels }) {
  const canvas = new OffscreenCanvas(width, height);
  const data = new ImageData(width, height);
  const words = new Uint32Array(data.data.buffer);
  for (let i = 0; i < pixels.length; i++) words[i] = pixels[i] ? 0xffffffff : 0xff000000;
  canvas.getContext("2d").putImageData(data, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

onmessage = async ({ data }) => {
  try {
    postMessage({ blob: await encode(data) });
  } catch (error) {
    postMessage({ problem: error.message });
  }
};
