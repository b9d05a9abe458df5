import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig } from 'vite'

const OUT = 'dist'
const WASM = 'node_modules/@litertjs/core/wasm'
const MODELS = [['lanes', '../../kseg/published/lanes/lanes.tflite']]

/** Adds LiteRT.js' WebAssembly, the published models and the service worker to the build. */
function addFiles() {
  return {
    name: 'kseg-files',
    apply: 'build',
    closeBundle() {
      cpSync(WASM, join(OUT, 'wasm'), { recursive: true, filter: (name) => !name.includes('_jspi_') })
      mkdirSync(join(OUT, 'models'), { recursive: true })
      const listed = MODELS.map(([name, path]) => {
        cpSync(path, join(OUT, 'models', `${name}.tflite`))
        return { name, file: `models/${name}.tflite` }
      })
      writeFileSync(join(OUT, 'models.json'), JSON.stringify(listed))
      const files = readdirSync(OUT, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && !['sw.js', '.vite', 'benchmark.html'].includes(entry.name))
        .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(OUT.length + 1))
        .sort()
      const version = createHash('sha256')
      for (const file of files) version.update(file).update(readFileSync(join(OUT, file)))
      const text = readFileSync('src/service_worker.js', 'utf8')
        .replace("['FILES']", JSON.stringify(['./', ...files]))
        .replace('VERSION', version.digest('hex').slice(0, 12))
      writeFileSync(join(OUT, 'sw.js'), text)
    },
  }
}

export default defineConfig({
  base: './',
  build: {
    outDir: OUT,
    assetsInlineLimit: 0,
    target: 'es2022',
    modulePreload: { polyfill: false },
    rollupOptions: { input: ['index.html', 'benchmark.html'] },
  },
  worker: { format: 'iife' },
  plugins: [addFiles()],
})
