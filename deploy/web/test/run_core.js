/**
 * Runs the core for tests/deploy/test_web.py: node run_core.js FOLDER. Reads FOLDER/jobs.json, a list
 * of jobs; writes FOLDER/results.json, a list of their results ({error} for an InputError). Pixels and
 * tensors are raw files in FOLDER.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { classIds, inputTensor } from '../src/core/class_map.js'
import { InputError } from '../src/core/errors.js'
import { fitFrame, unfitClassMap } from '../src/core/fit.js'
import { measureLanes } from '../src/core/lane_measures.js'
import { readModel } from '../src/core/model_file.js'
import { paint } from '../src/core/overlay.js'

const folder = process.argv[2]
const TYPES = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array }
const read = (name) => new Uint8Array(readFileSync(join(folder, name)))
const write = (name, array) => writeFileSync(join(folder, name), new Uint8Array(array.buffer))

const JOBS = {
  read: ({ path }) => readModel(new Uint8Array(readFileSync(path)), path).contract,
  fit: ({ frame, size, input, fit, pad, out }) =>
    write(out, fitFrame(read(frame), size, input, fit, pad)),
  unfit: ({ ids, input, size, fit, out }) =>
    write(out, unfitClassMap(read(ids), input, size, fit)),
  tensor: ({ model, fitted, out }) =>
    write(out, inputTensor(readModel(new Uint8Array(readFileSync(model)), model), read(fitted))),
  ids: ({ model, output, out }) => {
    const opened = readModel(new Uint8Array(readFileSync(model)), model)
    const Type = TYPES[opened.contract.outputDtype]
    write(out, classIds(opened, new Type(read(output).buffer)))
  },
  paint: ({ ids, classes, out }) => write(out, paint(read(ids), classes)),
  measure: ({ ids, size, classes, rows }) => measureLanes(read(ids), size, classes, rows),
}

const results = JSON.parse(readFileSync(join(folder, 'jobs.json'))).map((job) => {
  try {
    return JOBS[job.do](job) ?? null
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    return { error: error.message }
  }
})
writeFileSync(join(folder, 'results.json'), JSON.stringify(results))
