import { crc32 } from './crc32.js'

/**
 * Class ids as a PNG of one 8-bit channel, as the other runners write masks. A canvas would write
 * four.
 *
 * @param {Uint8Array} ids
 * @param {import('./contract.js').Size} size
 * @returns {Promise<Blob>}
 */
export async function encodeMask(ids, [height, width]) {
  const rows = new Uint8Array(height * (width + 1)) // Each row begins with its filter, 0: none.
  for (let y = 0; y < height; y++) {
    rows.set(ids.subarray(y * width, (y + 1) * width), y * (width + 1) + 1)
  }
  const header = new Uint8Array(13)
  const view = new DataView(header.buffer)
  view.setUint32(0, width)
  view.setUint32(4, height)
  header[8] = 8 // bits; the colour type 0 is grey
  const zlib = new Blob([rows]).stream().pipeThrough(new CompressionStream('deflate'))
  const data = new Uint8Array(await new Response(zlib).arrayBuffer())
  const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)
  const chunks = [chunk('IHDR', header), chunk('IDAT', data), chunk('IEND', new Uint8Array())]
  return new Blob([signature, ...chunks], { type: 'image/png' })
}

/** @param {string} type @param {Uint8Array} data */
function chunk(type, data) {
  const out = new Uint8Array(12 + data.length)
  const view = new DataView(out.buffer)
  view.setUint32(0, data.length)
  for (let i = 0; i < 4; i++) out[4 + i] = type.charCodeAt(i)
  out.set(data, 8)
  view.setUint32(8 + data.length, crc32(out.subarray(4, 8 + data.length)))
  return out
}
