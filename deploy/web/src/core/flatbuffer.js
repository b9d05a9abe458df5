/**
 * Reads FlatBuffers (https://flatbuffers.dev/internals) with bounds checks. Positions count from the
 * file's start; reading outside the file gives OUTSIDE, which every method accepts as a position.
 */
export const OUTSIDE = -1
export const ABSENT = -2

/** @typedef {{start: number, length: number}} Range bytes, or the items of a vector */

export class FlatBuffer {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** @param {number} position @param {number} count */
  inside(position, count) {
    return position >= 0 && position <= this.bytes.length - count
  }

  /** @param {number} position */
  uint32(position) {
    return this.inside(position, 4) ? this.view.getUint32(position, true) : OUTSIDE
  }

  /** @param {number} position */
  uint16(position) {
    return this.inside(position, 2) ? this.view.getUint16(position, true) : OUTSIDE
  }

  /** @param {number} position */
  uint8(position) {
    return this.inside(position, 1) ? this.bytes[position] : OUTSIDE
  }

  /**
   * Position of a table's field.
   *
   * @param {number} table
   * @param {number} number
   */
  field(table, number) {
    if (!this.inside(table, 4)) return OUTSIDE
    const start = table - this.view.getInt32(table, true)
    const size = this.uint16(start)
    if (size < 0) return OUTSIDE
    const entry = 4 + 2 * number
    const offset = entry + 2 <= size ? this.uint16(start + entry) : 0
    return offset < 0 ? OUTSIDE : offset === 0 ? ABSENT : table + offset
  }

  /**
   * Position that the offset stored at `position` points to.
   *
   * @param {number} position
   */
  follow(position) {
    const offset = this.uint32(position)
    return offset < 0 ? OUTSIDE : position + offset
  }

  /**
   * @param {number} position
   * @param {number} itemBytes
   * @returns {Range | null}
   */
  vector(position, itemBytes) {
    const at = this.follow(position)
    const length = this.uint32(at)
    if (length < 0 || length > (this.bytes.length - at - 4) / itemBytes) return null
    return { start: at + 4, length }
  }

  /** @param {Range} range @param {string} ascii */
  equal(range, ascii) {
    return (
      range.length === ascii.length &&
      [...ascii].every((letter, i) => this.bytes[range.start + i] === letter.charCodeAt(0))
    )
  }
}
