/**
 * One graph in LiteRT.js, on the CPU (WebAssembly) or the GPU (WebGPU). A classic worker, because
 * LiteRT.js loads its WebAssembly by importScripts; of its own, so that a driver that hangs or
 * crashes takes nothing else with it.
 */
import { loadAndCompile, loadLiteRt, supportsFeature, Tensor } from '@litertjs/core'

/** @type {import('@litertjs/core').CompiledModel} */
let model
/** @type {number[]} */
let shape

/** @param {{bytes: Uint8Array, inputSize: number[], device: 'cpu' | 'gpu', base: string}} request */
async function load({ bytes, inputSize, device, base }) {
  const wasm = new URL('wasm/', base).href
  shape = [1, ...inputSize, 3]
  const threads = device === 'cpu' && self.crossOriginIsolated && (await supportsFeature('relaxedSimd'))
  const script = `${wasm}litert_wasm_threaded_internal.js`
  const locateFile = (/** @type {string} */ name) => wasm + name
  const printErr = (/** @type {string} */ line) => {
    if (!/^(INFO|WARNING|VERBOSE):/.test(line)) console.error(line)
  }
  const options = { locateFile, printErr, ...(threads && { mainScriptUrlOrBlob: script }) }
  Object.assign(self, { Module: options })
  const gpu = device === 'gpu' ? await navigator.gpu?.requestAdapter() : null
  if (device === 'cpu') hideGpu()
  else if (!gpu) throw new Error('this browser has no WebGPU device')
  await loadLiteRt(wasm, { threads })
  const count = threads ? Math.min(4, navigator.hardwareConcurrency) : 1
  model = await loadAndCompile(
    bytes,
    device === 'cpu'
      ? { accelerator: 'wasm', cpuOptions: { numThreads: count } }
      : { accelerator: 'webgpu' },
  )
  if (device === 'gpu' && !model.isFullyAccelerated) {
    throw new Error('the GPU cannot run all operators of the model; export it with --profile gpu')
  }
  const adapter = gpu ? [gpu.info.vendor, gpu.info.architecture].filter(Boolean).join(' ') : ''
  return { threads: count, adapter }
}

/** LiteRT.js asks for a GPU in any case, and warns where there is none. */
function hideGpu() {
  const adapter = { limits: {}, features: new Set(), requestDevice: async () => null }
  Object.defineProperty(navigator, 'gpu', { value: { requestAdapter: async () => adapter } })
}

/** @param {{input: Uint8Array}} request or Float32Array, as the model's input is */
async function run({ input }) {
  const tensor = new Tensor(/** @type {Uint8Array<ArrayBuffer>} */ (input), shape)
  const [output] = await model.run(tensor)
  const values = await output.data()
  output.delete()
  if (!tensor.deleted) tensor.delete()
  return values
}

self.onmessage = async ({ data }) => {
  try {
    const result = data.do === 'load' ? await load(data) : await run(data)
    const moved = ArrayBuffer.isView(result) ? [/** @type {ArrayBuffer} */ (result.buffer)] : []
    self.postMessage({ id: data.id, result }, { transfer: moved })
  } catch (error) {
    self.postMessage({ id: data.id, error: String(/** @type {Error} */ (error)?.message ?? error) })
  }
}
