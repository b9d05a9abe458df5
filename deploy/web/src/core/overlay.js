/** @typedef {import('./contract.js').ClassLabel} ClassLabel */

const PERIOD = 16 // pixels, of the patterns
/** Whether (x, y) lies on a line of a pattern; one for each class, in turn. */
const PATTERNS = [
  (/** @type {number} */ x, /** @type {number} */ y) => (x + y) % PERIOD < 3,
  (/** @type {number} */ x, /** @type {number} */ y) => (x - y + (PERIOD << 16)) % PERIOD < 3,
  (/** @type {number} */ x, /** @type {number} */ y) => y % PERIOD < 3,
  (/** @type {number} */ x, /** @type {number} */ y) => x % PERIOD < 3,
]

/** Black classes are not drawn. @param {ClassLabel} label */
export function isShown(label) {
  return label.color.some((value) => value > 0)
}

/**
 * Class ids -> RGBA: opaque class colours; transparent where the class is black, hidden or unseen.
 *
 * @param {Uint8Array} ids
 * @param {ClassLabel[]} classes
 * @param {object} [options]
 * @param {Set<number>} [options.hidden] ids of classes that are not drawn
 * @param {number} [options.patternWidth] the image's width, to draw white lines, by class, over the
 *   colours; 0: none
 * @returns {Uint8ClampedArray<ArrayBuffer>}
 */
export function paint(ids, classes, { hidden = new Set(), patternWidth = 0 } = {}) {
  const colors = new Uint32Array(256)
  for (const label of classes) {
    const [red, green, blue] = label.color
    const drawn = isShown(label) && !hidden.has(label.id)
    // RGBA in memory on little-endian machines, which all that run browsers are.
    if (drawn) colors[label.id] = (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0
  }
  const pixels = new Uint32Array(ids.length)
  for (let i = 0; i < ids.length; i++) pixels[i] = colors[ids[i]]
  if (patternWidth) drawPatterns(pixels, ids, classes, patternWidth)
  return new Uint8ClampedArray(pixels.buffer)
}

/**
 * @param {Uint32Array} pixels
 * @param {Uint8Array} ids
 * @param {ClassLabel[]} classes
 * @param {number} width
 */
function drawPatterns(pixels, ids, classes, width) {
  const patternOf = new Map(
    classes.filter(isShown).map((label, i) => [label.id, PATTERNS[i % PATTERNS.length]]),
  )
  for (let i = 0; i < pixels.length; i++) {
    if (pixels[i] && patternOf.get(ids[i])?.(i % width, Math.floor(i / width))) {
      pixels[i] = 0xffffffff
    }
  }
}
