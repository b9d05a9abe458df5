/**
 * Keeps the page for use without network, and isolates it on hosts that set no headers, so that
 * WebAssembly may use threads. The build replaces FILES and VERSION.
 */
const FILES = ['FILES']
const CACHE = 'kseg-VERSION'

self.addEventListener('install', (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)).then(() => self.skipWaiting()))
})

self.addEventListener('activate', (event) => {
  const drop = async () => {
    const names = await caches.keys()
    await Promise.all(names.filter((n) => n.startsWith('kseg-') && n !== CACHE).map((n) => caches.delete(n)))
    await self.clients.claim()
  }
  event.waitUntil(drop())
})

async function respond(request) {
  const cache = await caches.open(CACHE)
  const changes = /\/models(\.json|\/)/.test(request.url) // Those of `kseg serve` change.
  const kept = await cache.match(request, { ignoreSearch: true })
  let response = changes ? undefined : kept
  try {
    response ??= await fetch(request)
    if (response !== kept && response.ok) await cache.put(request, response.clone())
  } catch (error) {
    if (!kept) throw error
    response = kept
  }
  const headers = new Headers(response.headers)
  headers.set('Cross-Origin-Opener-Policy', 'same-origin')
  headers.set('Cross-Origin-Embedder-Policy', 'require-corp')
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers })
}

self.addEventListener('fetch', (event) => {
  const { request } = event
  if (request.method === 'GET' && new URL(request.url).origin === self.location.origin) {
    event.respondWith(respond(request))
  }
})
