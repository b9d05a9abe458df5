import { UNSEEN_ID } from './contract.js'
import { FrameError } from './errors.js'
import { resize } from './resize.js'

/**
 * Fits frames of any size to the model's input, and class maps back to the frame. Bit-exact with
 * kseg/preprocess.py.
 */

/** @typedef {import('./contract.js').Size} Size */
/** @typedef {import('./contract.js').Fit} Fit */
/**
 * Where a scaled frame lies in the input; if top or left is negative, that much is cut away.
 *
 * @typedef {{height: number, width: number, top: number, left: number}} Placement
 */

const MAX_FRAME_SIDE = 32768
const MAX_SCALED_PIXELS = 2 ** 26

/**
 * @param {Size} frame
 * @param {Size} input
 * @param {Fit} fit
 * @returns {Placement}
 */
export function placement(frame, input, fit) {
  if (fit === 'stretch') return { height: input[0], width: input[1], top: 0, left: 0 }
  const scales = [input[0] / frame[0], input[1] / frame[1]]
  const scale = fit === 'letterbox' ? Math.min(...scales) : Math.max(...scales)
  const [height, width] = frame.map((side) => Math.max(1, Math.floor(side * scale + 0.5)))
  const [top, left] = [input[0] - height, input[1] - width].map((rest) => Math.trunc(rest / 2))
  return { height, width, top, left }
}

/**
 * RGB frame -> RGB of the input's size.
 *
 * @param {Uint8Array | Uint8ClampedArray} frame
 * @param {Size} frameSize
 * @param {Size} input
 * @param {Fit} fit
 * @param {number} padValue
 * @returns {Uint8Array}
 */
export function fitFrame(frame, frameSize, input, fit, padValue) {
  if (frameSize.some((side) => side < 1 || side > MAX_FRAME_SIDE)) {
    throw new FrameError(
      `a frame of size (${frameSize.join(', ')}): expected 1 to ${MAX_FRAME_SIDE} pixels a side`,
    )
  }
  const place = placement(frameSize, input, fit)
  if (place.height * place.width > MAX_SCALED_PIXELS) {
    const [from, to] = [frameSize.join(', '), input.join(', ')]
    throw new FrameError(`a frame of size (${from}) is too narrow to crop to (${to})`)
  }
  const same = place.height === frameSize[0] && place.width === frameSize[1]
  const scaled = same ? frame : resize(frame, frameSize, [place.height, place.width])
  const out = new Uint8Array(3 * input[0] * input[1]).fill(padValue)
  const count = 3 * Math.min(place.width - Math.max(-place.left, 0), input[1] - Math.max(place.left, 0))
  for (let y = Math.max(place.top, 0); y < Math.min(place.top + place.height, input[0]); y++) {
    const from = 3 * ((y - place.top) * place.width + Math.max(-place.left, 0))
    const to = 3 * (y * input[1] + Math.max(place.left, 0))
    out.set(scaled.subarray(from, from + count), to)
  }
  return out
}

/**
 * Class ids of the input's size -> ids of the frame's size, by nearest neighbour; UNSEEN_ID where
 * `crop` cut away.
 *
 * @param {Uint8Array} ids
 * @param {Size} input
 * @param {Size} frame
 * @param {Fit} fit
 * @returns {Uint8Array}
 */
export function unfitClassMap(ids, input, frame, fit) {
  const place = placement(frame, input, fit)
  const columns = Int32Array.from({ length: frame[1] }, (_, x) => {
    const from = nearest(x, place.width, frame[1]) + place.left
    return from >= 0 && from < input[1] ? from : -1
  })
  const out = new Uint8Array(frame[0] * frame[1]).fill(UNSEEN_ID)
  for (let y = 0; y < frame[0]; y++) {
    const from = nearest(y, place.height, frame[0]) + place.top
    if (from < 0 || from >= input[0]) continue
    const line = from * input[1]
    for (let x = 0, at = y * frame[1]; x < columns.length; x++, at++) {
      if (columns[x] >= 0) out[at] = ids[line + columns[x]]
    }
  }
  return out
}

/**
 * The pixel of the scaled frame in which the centre of a frame's pixel lies.
 *
 * @param {number} position
 * @param {number} fromSide
 * @param {number} toSide
 */
function nearest(position, fromSide, toSide) {
  // Below 2^53 the product is exact, and so is the floor of a quotient of such integers.
  return Math.floor(((2 * position + 1) * fromSide) / (2 * toSide))
}
