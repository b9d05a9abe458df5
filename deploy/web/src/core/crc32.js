const TABLE = new Uint32Array(256).map((_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1
  return byte
})

/**
 * CRC-32 as in zlib, 0 to 2^32 - 1.
 *
 * @param {Uint8Array} bytes
 */
export function crc32(bytes) {
  let crc = ~0
  for (let i = 0; i < bytes.length; i++) crc = TABLE[(crc ^ bytes[i]) & 0xff] ^ (crc >>> 8)
  return ~crc >>> 0
}
