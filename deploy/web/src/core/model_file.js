import { MAX_SIDE, parseContract } from './contract.js'
import { crc32 } from './crc32.js'
import { InputError, REEXPORT } from './errors.js'
import { ABSENT, FlatBuffer } from './flatbuffer.js'

/** @typedef {import('./contract.js').Contract} Contract */
/** @typedef {{shape: number[], dtype: string}} TensorType */
/**
 * A .tflite whose contract, checksum and graph have been checked, so that LiteRT may run it.
 *
 * @typedef {{name: string, bytes: Uint8Array, contract: Contract, channels: number}} Model
 */

// Field numbers of TFLite's schema.fbs (version 3).
const MODEL = { subgraphs: 2, buffers: 4, metadata: 6 }
const METADATA = { name: 0, buffer: 1 }
const GRAPH = { tensors: 0, inputs: 1, outputs: 2 }
const TENSOR = { shape: 0, type: 1 }
/** @type {Record<number, string>} */
const DTYPES = { 0: 'float32', 2: 'int32', 3: 'uint8' } // TensorType of the schema
const TRAILER_BYTES = 8

/**
 * Checks a file.
 *
 * @param {Uint8Array} bytes the complete file
 * @param {string} name errors start with it
 * @returns {Model}
 */
export function readModel(bytes, name) {
  const file = new FlatBuffer(bytes)
  const contract = parseContract(contractText(file, name), name)
  verifyChecksum(file, name)
  const input = graphTensor(file, GRAPH.inputs, name)
  const output = graphTensor(file, GRAPH.outputs, name)
  if (!matches(contract, input, output)) {
    throw new InputError(
      `${name}: its contract does not match its graph (${describe(input)} to ${describe(output)}); ` +
        REEXPORT,
    )
  }
  return { name, bytes, contract, channels: output.shape[3] ?? 1 }
}

/** @param {FlatBuffer} file @param {string} name */
function contractText(file, name) {
  if (file.bytes.length < 8 || !file.equal({ start: 4, length: 4 }, 'TFL3')) {
    const first = firstBytes(file.bytes)
    throw new InputError(`${name}: not a .tflite file (its first bytes are ${first})`)
  }
  const model = file.follow(0)
  const metadata = file.field(model, MODEL.metadata)
  const none = new InputError(`${name}: no kseg contract inside; ${REEXPORT}`)
  if (metadata === ABSENT) throw none
  const entries = file.vector(metadata, 4)
  if (!entries) throw corrupt(name, 'its metadata')
  for (let i = 0; i < entries.length; i++) {
    const entry = file.follow(entries.start + 4 * i)
    const nameField = file.field(entry, METADATA.name)
    if (nameField === ABSENT) continue
    const text = file.vector(nameField, 1)
    if (!text) throw corrupt(name, 'a metadata name')
    if (file.equal(text, 'kseg_contract')) return bufferOf(file, model, entry, name)
  }
  throw none
}

/** @param {FlatBuffer} file @param {number} model @param {number} entry @param {string} name */
function bufferOf(file, model, entry, name) {
  const indexField = file.field(entry, METADATA.buffer)
  const index = indexField === ABSENT ? 0 : file.uint32(indexField)
  const buffers = file.vector(file.field(model, MODEL.buffers), 4)
  const inside = buffers && index >= 0 && index < buffers.length
  const buffer = inside ? file.follow(buffers.start + 4 * index) : -1
  const data = file.vector(file.field(buffer, 0), 1)
  if (!data) throw corrupt(name, 'its contract')
  return file.bytes.subarray(data.start, data.start + data.length)
}

/**
 * Fails unless the last 8 bytes are "KCRC" and the CRC-32 of all bytes before them. LiteRT verifies
 * a file's structure but not its numbers: it silently runs corrupt weights.
 *
 * @param {FlatBuffer} file
 * @param {string} name
 */
function verifyChecksum(file, name) {
  const size = file.bytes.length - TRAILER_BYTES
  if (!file.inside(size, TRAILER_BYTES) || !file.equal({ start: size, length: 4 }, 'KCRC')) {
    throw new InputError(`${name}: truncated, or without kseg.export's checksum; ${REEXPORT}`)
  }
  if (file.uint32(size + 4) !== crc32(file.bytes.subarray(0, size))) {
    throw new InputError(
      `${name}: corrupt .tflite file (checksum mismatch); copy it again or ${REEXPORT}`,
    )
  }
}

/**
 * Type of the graph's only input or only output.
 *
 * @param {FlatBuffer} file
 * @param {number} end field number of the graph's inputs or outputs
 * @param {string} name
 * @returns {TensorType}
 */
function graphTensor(file, end, name) {
  const graphs = file.vector(file.field(file.follow(0), MODEL.subgraphs), 4)
  const graph = graphs?.length === 1 ? file.follow(graphs.start) : -1
  const indices = file.vector(file.field(graph, end), 4)
  const tensors = file.vector(file.field(graph, GRAPH.tensors), 4)
  const index = indices?.length === 1 ? file.uint32(indices.start) : -1
  const unsupported = new InputError(`${name}: its graph was not written by kseg.export; ${REEXPORT}`)
  if (!tensors || index < 0 || index >= tensors.length) throw unsupported
  const tensor = file.follow(tensors.start + 4 * index)
  const typeField = file.field(tensor, TENSOR.type)
  const dtype = DTYPES[typeField === ABSENT ? 0 : file.uint8(typeField)]
  const sides = file.vector(file.field(tensor, TENSOR.shape), 4)
  if (!dtype || !sides || sides.length > 4) throw unsupported
  const shape = Array.from({ length: sides.length }, (_, i) => file.uint32(sides.start + 4 * i))
  if (shape.some((side) => side < 1 || side > MAX_SIDE)) throw unsupported
  return { shape, dtype }
}

/** @param {Contract} contract @param {TensorType} input @param {TensorType} output */
function matches(contract, input, output) {
  const size = [1, ...contract.inputSize]
  // There may be more channels than classes: they fill up the GPU's slices of 4.
  const channels =
    contract.outputKind === 'logits'
      ? output.shape.length === 4 && output.shape[3] >= contract.classes.length
      : output.shape.length === 3
  return (
    String(input.shape) === String([...size, 3]) &&
    input.dtype === contract.inputDtype &&
    channels &&
    String(output.shape.slice(0, 3)) === String(size) &&
    output.dtype === contract.outputDtype
  )
}

/** @param {TensorType} type */
function describe(type) {
  const sides = type.shape.length === 1 ? `${type.shape[0]},` : type.shape.join(', ')
  return `(${sides}) ${type.dtype}`
}

/** @param {string} name @param {string} offset */
function corrupt(name, offset) {
  return new InputError(`${name}: corrupt .tflite file (${offset} points outside); ${REEXPORT}`)
}

/** The first 8 bytes as Python prints them. @param {Uint8Array} bytes */
function firstBytes(bytes) {
  /** @type {Record<number, string>} */
  const escapes = { 9: '\\t', 10: '\\n', 13: '\\r', 39: "\\'", 92: '\\\\' }
  const shown = [...bytes.subarray(0, 8)].map((byte) => {
    if (escapes[byte]) return escapes[byte]
    if (byte >= 0x20 && byte < 0x7f) return String.fromCharCode(byte)
    return `\\x${byte.toString(16).padStart(2, '0')}`
  })
  return `b'${shown.join('')}'`
}
