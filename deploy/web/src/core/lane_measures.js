import { UNSEEN_ID } from './contract.js'
import { InputError } from './errors.js'

/** @typedef {import('./contract.js').ClassLabel} ClassLabel */
/** @typedef {import('./contract.js').Size} Size */

/**
 * Measures of a class map for a JSON line, in pixels of the image (deploy/README.md).
 *
 * @param {Uint8Array} ids
 * @param {Size} size
 * @param {ClassLabel[]} classes
 * @param {number[]} rows shares of the frame's height, 0 (top) to below 1
 */
export function measureLanes(ids, size, classes, rows) {
  const drivableClasses = classes.filter((label) => label.drivable)
  const drivable = lookUpTable(drivableClasses)
  const direct = classes.filter((label) => label.name === 'direct')
  const ego = direct.length ? lookUpTable(direct) : drivable
  let seen = 0
  let count = 0
  for (const id of ids) {
    if (id !== UNSEEN_ID) seen++
    count += drivable[id]
  }
  return {
    drivable_share: seen && drivableClasses.length ? Number((count / seen).toFixed(6)) : null,
    rows: rows.map((row) => {
      const measures = measureRow(ids, size, drivable, ego, row)
      return drivableClasses.length ? measures : { ...measures, free_px: null }
    }),
  }
}

/**
 * @param {Uint8Array} ids
 * @param {Size} size
 * @param {Uint8Array} drivable
 * @param {Uint8Array} ego
 * @param {number} row
 */
function measureRow(ids, [height, width], drivable, ego, row) {
  const y = Math.floor(row * height)
  const [start, length] = longestRun(ids.subarray(y * width, (y + 1) * width).map((id) => ego[id]))
  if (!length) return { row, row_px: y, centre_offset_px: null, width_px: 0, free_px: 0 }
  const centre = start + (length - 1) / 2
  let free = 0
  while (free <= y && drivable[ids[(y - free) * width + Math.floor(centre)]]) free++
  const offset = centre - (width - 1) / 2
  return { row, row_px: y, centre_offset_px: offset, width_px: length, free_px: free }
}

/**
 * Start and length of the longest run of nonzero values; of equally long ones, the first.
 *
 * @param {Uint8Array} line
 */
function longestRun(line) {
  let best = [0, 0]
  for (let start = 0; start < line.length; start++) {
    let end = start
    while (line[end]) end++
    if (end - start > best[1]) best = [start, end - start]
    start = end
  }
  return best
}

/** @param {ClassLabel[]} classes */
function lookUpTable(classes) {
  const table = new Uint8Array(256)
  for (const label of classes) table[label.id] = 1
  return table
}

/**
 * The rows that a user typed: shares of the height, separated by spaces or commas.
 *
 * @param {string} text
 */
export function parseRows(text) {
  const rows = text.split(/[\s,]+/).filter(Boolean).map(Number)
  if (rows.every((row) => row >= 0 && row < 1)) return rows
  throw new InputError(`Rows ${text}: expected shares of the frame's height, from 0 to below 1`)
}
