import { ClosedError, FrameError, InputError } from './errors.js'
import { placement } from './fit.js'

/**
 * Comparisons of a GPU's class maps with the CPU's, at the start and while driving. deploy/README.md
 * has the rule, which is the same in Python, C++ and Java.
 */

/** @typedef {import('./contract.js').Size} Size */
/** @typedef {import('./contract.js').Fit} Fit */
/** @typedef {{top: number, left: number, height: number, width: number}} Region without bars */
/** @typedef {(fitted: Uint8Array) => Promise<Uint8Array>} SegmentImage */

export const MIN_AGREEMENT = 0.995 // kseg.export's limit for fp16, the precision GPUs compute in.
const MIN_CONTRAST = 8 // Standard deviation of the green values, 0..255.
const RECHECK_S = 30
const RETRY_S = 1 // After a frame that was passed over.

/** The device is lost: it failed, crashed or does not respond. */
export class DeviceLostError extends InputError {}

/**
 * The part of the model's input that shows the frame.
 *
 * @param {Size} frame
 * @param {Size} input
 * @param {Fit} fit
 * @returns {Region}
 */
export function regionOf(frame, input, fit) {
  const place = placement(frame, input, fit)
  const [top, left] = [Math.max(place.top, 0), Math.max(place.left, 0)]
  return {
    top,
    left,
    height: Math.min(place.top + place.height, input[0]) - top,
    width: Math.min(place.left + place.width, input[1]) - left,
  }
}

/** Positions of a region's pixels. @param {Region} region @param {number} width of the input */
function* positions({ top, left, height, width: columns }, width) {
  for (let y = top; y < top + height; y++) {
    for (let x = left; x < left + columns; x++) yield y * width + x
  }
}

/**
 * False for a frame that is black, white, or otherwise of one brightness.
 *
 * @param {Uint8Array} rgb
 * @param {Region} region
 * @param {number} width
 */
export function hasContrast(rgb, region, width) {
  let sum = 0
  let squares = 0
  for (const at of positions(region, width)) {
    const green = rgb[3 * at + 1]
    sum += green
    squares += green * green
  }
  const area = region.height * region.width
  return squares / area - (sum / area) ** 2 >= MIN_CONTRAST ** 2
}

/**
 * The share of equal pixels, 0..1; null where the frame shows nothing.
 *
 * @param {Uint8Array} rgb the model's input
 * @param {Uint8Array} gpu class ids of its size
 * @param {Uint8Array} cpu
 * @param {Region} region
 * @param {number} width
 */
export function compare(rgb, gpu, cpu, region, width) {
  const counts = new Uint32Array(256)
  let equal = 0
  for (const at of positions(region, width)) {
    counts[cpu[at]]++
    if (gpu[at] === cpu[at]) equal++
  }
  const area = region.height * region.width
  const agreement = equal / area
  const oneClass = Math.max(...counts) >= MIN_AGREEMENT * area
  // A GPU that returned one class for every frame would agree too.
  const showsNothing = oneClass && agreement >= MIN_AGREEMENT
  return showsNothing || !hasContrast(rgb, region, width) ? null : agreement
}

/**
 * Runs a model on the GPU as long as its class maps agree with the CPU's. Until a frame has been
 * compared, the CPU's class maps are returned; from then on a frame is compared every 30 seconds,
 * which the next frames do not wait for.
 */
export class CheckedGpu {
  /**
   * @param {SegmentImage} gpu throws FrameError, or DeviceLostError
   * @param {SegmentImage} cpu throws FrameError
   * @param {object} options
   * @param {string} options.name the model's
   * @param {number} options.width the input's
   * @param {(reason: string) => void} options.onFallBack the GPU was given up
   * @param {() => number} options.now seconds
   */
  constructor(gpu, cpu, { name, width, onFallBack, now }) {
    this.gpu = gpu
    this.cpu = cpu
    this.name = name
    this.width = width
    this.onFallBack = onFallBack
    this.now = now
    this.inUse = true
    this.trusted = false
    /** Whether the last frame ran on both, so that its time means nothing. */
    this.ranOnBoth = false
    /** @type {Promise<void> | null} */
    this.pending = null
    this.due = 0
    this.compared = 0
    this.passedOver = 0
    this.agreement = 0
    this.comparedAt = 0
  }

  /**
   * Segments a fitted frame.
   *
   * @param {Uint8Array} fitted
   * @param {Region} region
   * @returns {Promise<Uint8Array>}
   */
  async run(fitted, region) {
    this.ranOnBoth = false
    if (!this.inUse) return this.cpu(fitted)
    let ids
    try {
      ids = await this.gpu(fitted)
    } catch (error) {
      return this.runOnCpu(fitted, /** @type {Error} */ (error))
    }
    if (!this.inUse) return this.cpu(fitted) // A comparison failed meanwhile.
    if (!this.trusted) {
      this.ranOnBoth = true
      const expected = await this.cpu(fitted)
      this.note(compare(fitted, ids, expected, region, this.width))
      return this.trusted ? ids : expected
    }
    if (!this.pending && this.now() >= this.due) {
      this.pending = this.compareLater(fitted, ids, region).finally(() => (this.pending = null))
    }
    return ids
  }

  /** After the GPU failed on a frame. @param {Uint8Array} fitted @param {Error} error */
  async runOnCpu(fitted, error) {
    if (error instanceof DeviceLostError) this.fallBack(error.message)
    else if (!(error instanceof FrameError)) throw error
    await this.pending
    this.ranOnBoth = true
    const expected = await this.cpu(fitted) // If this fails, the frame shows nothing about the GPU.
    if (this.inUse) this.fallBack(`on the GPU ${error.message}`)
    return expected
  }

  /** @param {Uint8Array} fitted @param {Uint8Array} ids @param {Region} region */
  async compareLater(fitted, ids, region) {
    let agreement = null
    try {
      if (hasContrast(fitted, region, this.width)) { // Saves the CPU's work.
        agreement = compare(fitted, ids, await this.cpu(fitted), region, this.width)
      }
    } catch (error) {
      if (error instanceof ClosedError) return
      if (!(error instanceof FrameError)) throw error
    }
    this.note(agreement)
  }

  /** Counts a comparison. Rejects the GPU if it failed. @param {number | null} agreement */
  note(agreement) {
    const now = this.now()
    if (agreement === null) {
      this.passedOver++
      this.due = now + RETRY_S
      return
    }
    const age = now - this.comparedAt
    this.compared++
    this.agreement = agreement
    this.comparedAt = now
    this.due = now + RECHECK_S
    if (agreement >= MIN_AGREEMENT) {
      this.trusted = true
      return
    }
    const share = `${(100 * agreement).toFixed(3)} % of a frame's pixels`
    const since = `, ${age.toFixed(0)} s after it agreed; frames since then may be wrong`
    this.fallBack(
      `the GPU agrees with the CPU on only ${share} (limit ${(100 * MIN_AGREEMENT).toFixed(1)}%)` +
        (this.trusted ? since : ''),
    )
  }

  /** @param {string} reason */
  fallBack(reason) {
    if (!this.inUse) return
    this.inUse = false
    this.onFallBack(`no GPU: ${this.name}: ${reason}; running on the CPU`)
  }

  /** The last comparison, for a JSON line; null before the first. */
  report() {
    if (!this.compared) return null
    return {
      frames: this.compared,
      agreement: Number(this.agreement.toFixed(6)),
      age_s: Number((this.now() - this.comparedAt).toFixed(1)),
    }
  }
}
