// Saves pictures by mozjpeg: node encode.mjs PIXELS WIDTH HEIGHT COUNT PREFIX OPTIONS
// PIXELS: COUNT pictures of HEIGHT x WIDTH x RGBA bytes. Writes PREFIX0.jpg and so on.
import { readFileSync, writeFileSync } from "node:fs";
import encode, { init } from "@jsquash/jpeg/encode.js";

const [pixels, width, height, count, prefix, options] = process.argv.slice(2);
const codec = new URL(import.meta.resolve("@jsquash/jpeg/codec/enc/mozjpeg_enc.wasm"));
await init(await WebAssembly.compile(readFileSync(codec)));
const bytes = readFileSync(pixels);
const size = width * height * 4;
for (let i = 0; i < count; i++) {
  const data = new Uint8ClampedArray(bytes.subarray(i * size, (i + 1) * size));
  const file = await encode({ data, width: +width, height: +height }, JSON.parse(options));
  writeFileSync(`${prefix}${i}.jpg`, Buffer.from(file));
}
