/** The last model, in the browser's database. */

/** @typedef {{name: string, bytes: Uint8Array}} StoredModel */

/** @returns {Promise<IDBDatabase>} */
function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open('kseg', 1)
    request.onupgradeneeded = () => request.result.createObjectStore('models')
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

/**
 * @template T
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<T>} use
 * @returns {Promise<T>}
 */
async function withStore(mode, use) {
  const database = await open()
  const request = use(database.transaction('models', mode).objectStore('models'))
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

/** @param {StoredModel} model */
export async function rememberModel(model) {
  await withStore('readwrite', (store) => store.put(model, 'last')).catch(() => {}) // Private window.
}

/** @returns {Promise<StoredModel | undefined>} */
export function lastModel() {
  return withStore('readonly', (store) => store.get('last')).catch(() => undefined)
}
