/** Segments frames: fits them, runs the graph, compares the GPU with the CPU, and measures. */
import { ClosedError, InputError } from './core/errors.js'
import { fitFrame, unfitClassMap } from './core/fit.js'
import { CheckedGpu, regionOf } from './core/gpu_check.js'
import { measureLanes } from './core/lane_measures.js'
import { readModel } from './core/model_file.js'
import { Graph } from './graph.js'

/** @typedef {import('./core/contract.js').Size} Size */

const MAX_FAILURES_IN_A_ROW = 25
/** @type {import('./core/model_file.js').Model | null} */
let model = null
/** @type {CheckedGpu} */
let checked
/** @type {Graph[]} */
let graphs = []
let failedInARow = 0
const canvas = new OffscreenCanvas(1, 1)
const context = /** @type {OffscreenCanvasRenderingContext2D} */ (
  canvas.getContext('2d', { willReadFrequently: true, alpha: false })
)

/** @param {object} message @param {Transferable[]} [transfer] */
const post = (message, transfer = []) => self.postMessage(message, { transfer })

/** @param {{bytes: Uint8Array, name: string, device: 'cpu' | 'gpu', base: string}} request */
async function load({ bytes, name, device, base }) {
  const read = readModel(bytes, name) // If this fails, the previous model continues.
  for (const graph of graphs) graph.close()
  model = null
  const cpu = new Graph(read, 'cpu')
  graphs = [cpu]
  const { threads } = await cpu.load(base)
  let gpu = null
  let note = ''
  if (device === 'gpu') {
    gpu = new Graph(read, 'gpu')
    graphs.push(gpu)
    try {
      await gpu.load(base)
    } catch (error) {
      if (error instanceof ClosedError) throw error
      note = `no GPU: ${name}: ${/** @type {Error} */ (error).message}; running on the CPU`
      gpu.close()
      gpu = null
    }
  }
  const onFallBack = (/** @type {string} */ line) => {
    gpu?.close()
    post({ type: 'fallback', note: line })
  }
  checked = new CheckedGpu(
    (fitted) => /** @type {Graph} */ (gpu).segment(fitted),
    (fitted) => cpu.segment(fitted),
    { name, width: read.contract.inputSize[1], onFallBack, now: () => performance.now() / 1000 },
  )
  checked.inUse = gpu !== null
  failedInARow = 0
  model = read
  post({ type: 'model', name, contract: read.contract, device: gpu ? 'gpu' : 'cpu', threads, note })
}

/** An image's RGB values. @param {ImageBitmap} bitmap */
function readRgb(bitmap) {
  canvas.width = bitmap.width
  canvas.height = bitmap.height
  context.drawImage(bitmap, 0, 0)
  const rgba = context.getImageData(0, 0, bitmap.width, bitmap.height).data
  const rgb = new Uint8Array((rgba.length / 4) * 3)
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = rgba[from]
    rgb[to++] = rgba[from + 1]
    rgb[to++] = rgba[from + 2]
  }
  return rgb
}

/** @param {{bitmap: ImageBitmap, rows: number[], arrived: number}} request */
async function segment({ bitmap, rows, arrived }) {
  if (!model) throw new InputError('no model is loaded')
  const { contract } = model
  const start = performance.now()
  const size = /** @type {Size} */ ([bitmap.height, bitmap.width])
  const fitted = fitFrame(readRgb(bitmap), size, contract.inputSize, contract.fit, contract.padValue)
  const onInput = await checked.run(fitted, regionOf(size, contract.inputSize, contract.fit))
  const ids = unfitClassMap(onInput, contract.inputSize, size, contract.fit)
  const latencyMs = performance.now() - start
  failedInARow = 0
  const result = {
    latencyMs,
    ageMs: performance.timeOrigin + performance.now() - arrived,
    check: checked.report(),
    passedOver: checked.passedOver,
    ranOnBoth: checked.ranOnBoth,
    measures: measureLanes(ids, size, contract.classes, rows),
  }
  const buffer = /** @type {ArrayBuffer} */ (ids.buffer)
  post({ type: 'frame', bitmap, ids, ...result }, [bitmap, buffer])
}

/** A frame without a class map is skipped; after many in a row the model stops. @param {Error} error */
function skip(error) {
  if (++failedInARow < MAX_FAILURES_IN_A_ROW) {
    post({ type: 'skipped', message: error.message })
    return
  }
  model = null
  const message = `${MAX_FAILURES_IN_A_ROW} frames in a row cannot be segmented (${error.message})`
  post({ type: 'stopped', message })
}

self.onmessage = async ({ data }) => {
  try {
    await (data.do === 'load' ? load(data) : segment(data))
  } catch (error) {
    if (error instanceof ClosedError) return // Another model was chosen meanwhile.
    const { message } = /** @type {Error} */ (error)
    if (data.do !== 'load') skip(/** @type {Error} */ (error))
    else if (error instanceof InputError) post({ type: 'error', message, keeps: model !== null })
    else post({ type: 'error', message: `${data.name}: ${message}`, keeps: false })
  }
}
