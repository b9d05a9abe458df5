import { InputError, REEXPORT } from './errors.js'
import { parseJson } from './json.js'

/** The contract: the JSON document inside a .tflite that describes the model (deploy/README.md). */
export const CONTRACT_VERSION = 1
export const MAX_SIDE = 8192 // of a model's input, pixels
export const UNSEEN_ID = 255 // of pixels that `crop` cut away
const MAX_CLASSES = 255
const FITS = ['letterbox', 'stretch', 'crop']
/** @type {Record<string, string[]>} */
const OUTPUT_DTYPES = { class_map: ['uint8', 'int32'], logits: ['float32'] } // by output_kind

/** @typedef {[number, number]} Size height and width, pixels */
/** @typedef {'letterbox' | 'stretch' | 'crop'} Fit */
/** @typedef {{id: number, name: string, color: number[], drivable: boolean}} ClassLabel */
/**
 * @typedef {object} Contract
 * @property {string} model
 * @property {string} precision
 * @property {string} dataset
 * @property {Size} inputSize
 * @property {'uint8' | 'float32'} inputDtype
 * @property {Fit} fit
 * @property {number} padValue
 * @property {'class_map' | 'logits'} outputKind
 * @property {'uint8' | 'int32' | 'float32'} outputDtype
 * @property {ClassLabel[]} classes
 */

/**
 * Parses and checks a contract's JSON text.
 *
 * @param {Uint8Array} text
 * @param {string} where errors start with it
 * @returns {Contract}
 */
export function parseContract(text, where) {
  try {
    const document = parseJson(text)
    if (!(document instanceof Map)) throw new InputError('contract_version')
    checkSupported(document, where)
    return readMembers(document)
  } catch (error) {
    if (!(error instanceof InputError) || error instanceof RefusedError) throw error
    throw new InputError(`${where}: invalid kseg contract (${error.message}); ${REEXPORT}`)
  }
}

/** An error whose message is complete. */
class RefusedError extends InputError {}

/** @param {Map<string, unknown>} document @param {string} where */
function checkSupported(document, where) {
  const version = integer(document.get('contract_version'), 1, 2 ** 31 - 1, 'contract_version')
  if (version > CONTRACT_VERSION) {
    throw new RefusedError(
      `${where}: kseg contract version ${version} is newer than this runner supports ` +
        `(${CONTRACT_VERSION}); update the runner or ${REEXPORT}`,
    )
  }
  const kind = text(document.get('output_kind'))
  const input = text(document.get('input_dtype'))
  const output = text(document.get('output_dtype'))
  const known = Object.hasOwn(OUTPUT_DTYPES, kind) && OUTPUT_DTYPES[kind].includes(output)
  const inputKnown = input === 'uint8' || input === 'float32'
  if (!known || !inputKnown || document.get('output_stride') !== 1) {
    throw new RefusedError(
      `${where}: unsupported model, ${input} to ${kind} (${output}); this runner supports uint8 or ` +
        'float32 to class_map (uint8, int32) or logits (float32) of stride 1; ' + REEXPORT,
    )
  }
}

/** @param {Map<string, unknown>} document @returns {Contract} */
function readMembers(document) {
  const inputSize = integers(document.get('input_size'), 2, 1, MAX_SIDE, 'input_size')
  const fit = document.get('fit')
  if (!FITS.includes(/** @type {string} */ (fit))) throw new InputError('fit')
  const padValue = integer(document.get('pad_value'), 0, 255, 'pad_value')
  if (document.get('channel_order') !== 'RGB') throw new InputError('channel_order')
  const range = integers(document.get('value_range'), 2, 0, 255, 'value_range')
  if (range[0] !== 0 || range[1] !== 255) throw new InputError('value_range')
  return /** @type {Contract} */ ({
    model: text(document.get('model')),
    precision: text(document.get('precision')),
    dataset: text(document.get('dataset')),
    inputSize,
    inputDtype: document.get('input_dtype'),
    fit,
    padValue,
    outputKind: document.get('output_kind'),
    outputDtype: document.get('output_dtype'),
    classes: readClasses(document.get('labels')),
  })
}

/** @param {unknown} labels @returns {ClassLabel[]} */
function readClasses(labels) {
  const list = labels instanceof Map ? labels.get('classes') : null
  if (!Array.isArray(list) || list.length < 1 || list.length > MAX_CLASSES) {
    throw new InputError('labels')
  }
  const classes = list.map((item) => {
    if (!(item instanceof Map) || typeof item.get('drivable') !== 'boolean') {
      throw new InputError('labels')
    }
    return {
      id: integer(item.get('id'), 0, MAX_CLASSES - 1, 'labels'),
      name: text(item.get('name')),
      color: integers(item.get('color'), 3, 0, 255, 'labels'),
      drivable: item.get('drivable'),
    }
  })
  const ids = classes.map((label) => label.id).sort((a, b) => a - b)
  if (ids.some((id, i) => id !== i)) throw new InputError('labels') // 0 to n - 1, each once.
  return classes
}

/** @param {unknown} value */
function text(value) {
  return typeof value === 'string' ? value : ''
}

/** @param {unknown} value @param {number} low @param {number} high @param {string} name */
function integer(value, low, high, name) {
  if (typeof value !== 'number' || value < low || value > high) throw new InputError(name)
  return value
}

/**
 * @param {unknown} value
 * @param {number} count
 * @param {number} low
 * @param {number} high
 * @param {string} name
 */
function integers(value, count, low, high, name) {
  if (!Array.isArray(value) || value.length !== count) throw new InputError(name)
  return value.map((item) => integer(item, low, high, name))
}
