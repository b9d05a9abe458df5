import { FrameError } from './errors.js'

/** @typedef {import('./model_file.js').Model} Model */
/** @typedef {Uint8Array | Int32Array | Float32Array} Tensor */

/**
 * The tensor that a graph gets for a fitted frame: the same values, in the contract's dtype.
 *
 * @param {Model} model
 * @param {Uint8Array} fitted
 * @returns {Uint8Array | Float32Array}
 */
export function inputTensor(model, fitted) {
  return model.contract.inputDtype === 'float32' ? Float32Array.from(fitted) : fitted
}

/**
 * A graph's output -> class ids of the input's size. Throws FrameError where a pixel has no class.
 *
 * @param {Model} model
 * @param {Tensor} output
 * @returns {Uint8Array}
 */
export function classIds(model, output) {
  const [height, width] = model.contract.inputSize
  const expected = height * width * model.channels
  if (output.length !== expected) {
    throw new FrameError(`the model returned ${output.length} values, expected ${expected}`)
  }
  const classes = model.contract.classes.length
  if (model.contract.outputKind === 'logits') return argmax(output, model.channels, classes)
  let invalid = 0
  for (const id of output) if (id < 0 || id >= classes) invalid++
  if (invalid) {
    throw new FrameError(
      `the model predicts no class at ${invalid} pixels ` +
        '(its logits are not finite, or the device computes wrongly)',
    )
  }
  return Uint8Array.from(output)
}

/**
 * The first of equal maxima wins; channels beyond the classes are ignored.
 *
 * @param {Tensor} logits
 * @param {number} channels
 * @param {number} classes
 */
function argmax(logits, channels, classes) {
  const ids = new Uint8Array(logits.length / channels)
  let invalid = 0
  for (let i = 0, at = 0; i < ids.length; i++, at += channels) {
    let best = 0
    let hasNan = false
    for (let c = 0; c < classes; c++) {
      if (logits[at + c] > logits[at + best]) best = c
      if (Number.isNaN(logits[at + c])) hasNan = true
    }
    // NaN is larger than nothing: unchecked, it would become class 0, the lane we drive in.
    if (hasNan || !Number.isFinite(logits[at + best])) invalid++
    ids[i] = best
  }
  if (invalid) throw new FrameError(`the model's logits are not finite at ${invalid} pixels`)
  return ids
}
