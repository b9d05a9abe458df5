import { classIds, inputTensor } from './core/class_map.js'
import { ClosedError } from './core/errors.js'
import { DeviceLostError } from './core/gpu_check.js'

const LOAD_S = 120
const RUN_S = 30

/** A model in a worker of its own. */
export class Graph {
  /** @param {import('./core/model_file.js').Model} model @param {'cpu' | 'gpu'} device */
  constructor(model, device) {
    this.model = model
    this.device = device
    this.worker = new Worker(new URL('./graph.worker.js', import.meta.url))
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
    this.calls = new Map()
    this.count = 0
    this.worker.onmessage = ({ data }) => {
      const call = this.calls.get(data.id)
      this.calls.delete(data.id)
      if (data.error) call?.reject(new DeviceLostError(data.error))
      else call?.resolve(data.result)
    }
    this.worker.onerror = (event) => this.fail(`crashed (${event.message})`)
  }

  /** @param {string} base the page's address @returns {Promise<{threads: number, adapter: string}>} */
  load(base) {
    const { bytes, contract } = this.model
    const request = { bytes, inputSize: contract.inputSize, device: this.device, base }
    return this.call({ do: 'load', ...request }, LOAD_S)
  }

  /** A fitted frame -> class ids. @param {Uint8Array} fitted */
  async segment(fitted) {
    const output = await this.call({ do: 'run', input: inputTensor(this.model, fitted) }, RUN_S)
    return classIds(this.model, output)
  }

  /** @param {object} request @param {number} seconds @returns {Promise<any>} */
  call(request, seconds) {
    const id = ++this.count
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.fail(`did not respond within ${seconds} s`), 1000 * seconds)
      const settle = (/** @type {(value: any) => void} */ done) => (/** @type {any} */ value) => {
        clearTimeout(timer)
        done(value)
      }
      this.calls.set(id, { resolve: settle(resolve), reject: settle(reject) })
      this.worker.postMessage({ id, ...request })
    })
  }

  /** @param {string} problem */
  fail(problem) {
    const name = this.device === 'gpu' ? 'the GPU' : 'the CPU'
    this.end(new DeviceLostError(`${name} ${problem}`))
  }

  /** Calls that have no answer yet end with a ClosedError. */
  close() {
    this.end(new ClosedError('closed'))
  }

  /** @param {Error} error */
  end(error) {
    this.worker.terminate()
    for (const call of this.calls.values()) call.reject(error)
    this.calls.clear()
  }
}
