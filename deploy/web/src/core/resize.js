/**
 * RGB resizing, bit-exact with OpenCV: INTER_AREA when both sides shrink, else INTER_LINEAR.
 *
 * It repeats the arithmetic of OpenCV's modules/imgproc/src/resize.cpp in float32, rounded after
 * each operation by Math.fround. A Uint8ClampedArray rounds half to even, as OpenCV does.
 */

/** @typedef {import('./contract.js').Size} Size */

const SLIVER = 1e-3 // OpenCV ignores smaller shares of a pixel.
const { fround } = Math

/**
 * @param {Uint8Array | Uint8ClampedArray} from RGB
 * @param {Size} fromSize
 * @param {Size} size
 * @returns {Uint8ClampedArray} RGB
 */
export function resize(from, fromSize, size) {
  const to = new Uint8ClampedArray(3 * size[0] * size[1])
  const scaleY = scaleOf(fromSize[0], size[0])
  const scaleX = scaleOf(fromSize[1], size[1])
  if (size[0] > fromSize[0] || size[1] > fromSize[1]) linear(from, fromSize, to, size)
  else if (isInteger(scaleY) && isInteger(scaleX)) {
    areaInteger(from, fromSize, Math.round(scaleY), Math.round(scaleX), to, size)
  } else area(from, fromSize, to, size)
  return to
}

/** @param {number} from @param {number} to */
function scaleOf(from, to) {
  return 1 / (to / from)
}

/** OpenCV's test, for which 1 / (1 / 98) is not an integer. @param {number} scale */
function isInteger(scale) {
  return Math.abs(scale - Math.round(scale)) < Number.EPSILON
}

/**
 * Weights of source pixels in target pixels, along one axis, when shrinking.
 *
 * @param {number} fromSide
 * @param {number} toSide
 */
function areaWeights(fromSide, toSide) {
  const capacity = fromSide + 2 * toSide
  const to = new Int32Array(capacity)
  const from = new Int32Array(capacity)
  const weight = new Float32Array(capacity)
  let count = 0
  /** @param {number} target @param {number} source @param {number} share */
  const add = (target, source, share) => {
    to[count] = target
    from[count] = source
    weight[count++] = share
  }
  const scale = scaleOf(fromSide, toSide)
  for (let target = 0; target < toSide; target++) {
    const start = target * scale
    const end = start + scale
    const cell = Math.min(scale, fromSide - start)
    const last = Math.min(Math.floor(end), fromSide - 1)
    const first = Math.min(Math.ceil(start), last)
    if (first - start > SLIVER) add(target, first - 1, (first - start) / cell)
    for (let source = first; source < last; source++) add(target, source, 1 / cell)
    if (end - last > SLIVER) add(target, last, Math.min(end - last, 1, cell) / cell)
  }
  return { count, to, from, weight }
}

/**
 * @param {Uint8Array | Uint8ClampedArray} from
 * @param {Size} fromSize
 * @param {Uint8ClampedArray} out
 * @param {Size} size
 */
function area(from, fromSize, out, size) {
  const columns = areaWeights(fromSize[1], size[1])
  const rows = areaWeights(fromSize[0], size[0])
  const length = 3 * size[1]
  const row = new Float32Array(length)
  const sum = new Float32Array(length)
  for (let r = 0; r < rows.count; r++) {
    shrink(from, rows.from[r] * 3 * fromSize[1], columns, row)
    const weight = rows.weight[r]
    const first = r === 0 || rows.to[r - 1] !== rows.to[r]
    for (let i = 0; i < length; i++) {
      sum[i] = first ? weight * row[i] : sum[i] + fround(weight * row[i])
    }
    if (r + 1 === rows.count || rows.to[r + 1] !== rows.to[r]) out.set(sum, rows.to[r] * length)
  }
}

/**
 * @param {Uint8Array | Uint8ClampedArray} from
 * @param {number} line position of the row's first value
 * @param {ReturnType<typeof areaWeights>} columns
 * @param {Float32Array} row
 */
function shrink(from, line, columns, row) {
  for (let i = 0; i < columns.count; ) {
    const to = columns.to[i]
    let red = fround(0)
    let green = fround(0)
    let blue = fround(0)
    for (; i < columns.count && columns.to[i] === to; i++) {
      const at = line + 3 * columns.from[i]
      const weight = columns.weight[i]
      red = fround(red + fround(from[at] * weight))
      green = fround(green + fround(from[at + 1] * weight))
      blue = fround(blue + fround(from[at + 2] * weight))
    }
    row[3 * to] = red
    row[3 * to + 1] = green
    row[3 * to + 2] = blue
  }
}

/**
 * An integer number of source pixels per target pixel along both axes: their mean.
 *
 * @param {Uint8Array | Uint8ClampedArray} from
 * @param {Size} fromSize
 * @param {number} factorY
 * @param {number} factorX
 * @param {Uint8ClampedArray} out
 * @param {Size} size
 */
function areaInteger(from, fromSize, factorY, factorX, out, size) {
  const quad = factorY === 2 && factorX === 2 // OpenCV rounds this case half up.
  const share = fround(1 / (factorY * factorX))
  const length = 3 * size[1]
  const sums = new Int32Array(length)
  for (let y = 0; y < size[0]; y++) {
    sums.fill(0)
    for (let dy = 0; dy < factorY; dy++) {
      let at = (y * factorY + dy) * 3 * fromSize[1]
      for (let to = 0; to < length; to += 3) {
        for (let dx = 0; dx < factorX; dx++, at += 3) {
          sums[to] += from[at]
          sums[to + 1] += from[at + 1]
          sums[to + 2] += from[at + 2]
        }
      }
    }
    const at = y * length
    for (let i = 0; i < length; i++) {
      out[at + i] = quad ? (sums[i] + 2) >> 2 : fround(sums[i] * share)
    }
  }
}

/**
 * Two neighbours, and their weights in 1/2048, for each target pixel along one axis.
 *
 * @param {number} fromSide
 * @param {number} toSide
 * @param {boolean} clampFraction
 */
function taps(fromSide, toSide, clampFraction) {
  const first = new Int32Array(toSide)
  const second = new Int32Array(toSide)
  const weightFirst = new Int32Array(toSide)
  const weightSecond = new Int32Array(toSide)
  const scale = scaleOf(fromSide, toSide)
  for (let to = 0; to < toSide; to++) {
    let fraction = fround((to + 0.5) * scale - 0.5)
    const left = Math.floor(fraction)
    fraction = fround(fraction - left)
    if (clampFraction && (left < 0 || left >= fromSide - 1)) fraction = 0
    first[to] = clamp(left, fromSide - 1)
    second[to] = clamp(left + 1, fromSide - 1)
    weightFirst[to] = roundHalfEven(fround(fround(1 - fraction) * 2048))
    weightSecond[to] = roundHalfEven(fround(fraction * 2048))
  }
  return { first, second, weightFirst, weightSecond }
}

/** @param {number} value @param {number} high */
function clamp(value, high) {
  return Math.max(0, Math.min(value, high))
}

/** @param {number} value 0 or more */
function roundHalfEven(value) {
  const down = Math.floor(value)
  const rest = value - down
  return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down
}

/**
 * @param {Uint8Array | Uint8ClampedArray} from
 * @param {Size} fromSize
 * @param {Uint8ClampedArray} out
 * @param {Size} size
 */
function linear(from, fromSize, out, size) {
  const columns = taps(fromSize[1], size[1], true)
  const rows = taps(fromSize[0], size[0], false)
  const length = 3 * size[1]
  /** @type {Map<number, Int32Array>} */
  let stretched = new Map() // Rows, by their number.
  for (let y = 0; y < size[0]; y++) {
    const needed = [rows.first[y], rows.second[y]]
    stretched = new Map(
      needed.map((row) => [row, stretched.get(row) ?? stretch(from, row * 3 * fromSize[1], columns)]),
    )
    const above = /** @type {Int32Array} */ (stretched.get(needed[0]))
    const below = /** @type {Int32Array} */ (stretched.get(needed[1]))
    const at = y * length
    for (let i = 0; i < length; i++) {
      const top = (rows.weightFirst[y] * (above[i] >> 4)) >> 16
      const bottom = (rows.weightSecond[y] * (below[i] >> 4)) >> 16
      out[at + i] = (top + bottom + 2) >> 2
    }
  }
}

/**
 * @param {Uint8Array | Uint8ClampedArray} from
 * @param {number} line
 * @param {ReturnType<typeof taps>} columns
 */
function stretch(from, line, columns) {
  const to = new Int32Array(3 * columns.first.length)
  for (let x = 0, i = 0; x < columns.first.length; x++) {
    for (let channel = line; channel < line + 3; channel++, i++) {
      to[i] =
        from[channel + 3 * columns.first[x]] * columns.weightFirst[x] +
        from[channel + 3 * columns.second[x]] * columns.weightSecond[x]
    }
  }
  return to
}
