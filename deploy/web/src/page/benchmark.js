/**
 * Times one model on one device for kseg.benchmark --browser, and sends it the result.
 * benchmark.json: {model, device, rounds, seconds, size: [height, width]}; frames.rgb: frames of
 * that size. The first is timed, all are segmented.
 */
import { fitFrame, unfitClassMap } from '../core/fit.js'
import { readModel } from '../core/model_file.js'
import { Graph } from '../graph.js'

/** @param {string} path */
async function bytes(path) {
  const response = await fetch(path)
  if (!response.ok) throw new Error(`${path}: status ${response.status}`)
  return new Uint8Array(await response.arrayBuffer())
}

/**
 * Milliseconds of each call, after one that is not counted.
 * @param {() => Promise<any>} call @param {{rounds: number, seconds: number}} limits
 */
async function time(call, { rounds, seconds }) {
  await call()
  const times = []
  const end = performance.now() + 1000 * seconds
  while (times.length < rounds && (performance.now() < end || !times.length)) {
    const start = performance.now()
    await call()
    times.push(performance.now() - start)
  }
  return times
}

async function measure() {
  const task = JSON.parse(new TextDecoder().decode(await bytes('benchmark.json')))
  const model = readModel(await bytes(task.model), task.model)
  const values = await bytes('frames.rgb')
  const length = 3 * task.size[0] * task.size[1]
  const rgb = values.subarray(0, length)
  const { inputSize, fit, padValue } = model.contract
  const graph = new Graph(model, task.device)
  const start = performance.now()
  const { threads, adapter } = await graph.load(document.baseURI)
  const loadS = (performance.now() - start) / 1000
  const fitted = fitFrame(rgb, task.size, inputSize, fit, padValue)
  const modelMs = await time(() => graph.segment(fitted), task)
  const segment = async (/** @type {Uint8Array} */ frame) => {
    const ids = await graph.segment(fitFrame(frame, task.size, inputSize, fit, padValue))
    return unfitClassMap(ids, inputSize, task.size, fit)
  }
  const frameMs = await time(() => segment(rgb), task)
  const classMaps = []
  for (let from = 0; from < values.length; from += length) {
    const classMap = await segment(values.subarray(from, from + length))
    classMaps.push(btoa(Array.from(classMap, (id) => String.fromCharCode(id)).join('')))
  }
  const times = { model_ms: modelMs, frame_ms: frameMs, load_s: loadS }
  return { ...times, threads, adapter, class_maps: classMaps }
}

let result
try {
  result = await measure()
} catch (error) {
  result = { failed: String(/** @type {Error} */ (error)?.message ?? error) }
}
await fetch('result', { method: 'POST', body: JSON.stringify(result) })
const state = document.querySelector('#state')
if (state) state.textContent = 'Done'
