// One real worker, written against every published Node generation.
//
// The runner starts it as `node worker.mjs ENGINE PREFIX` inside the folder of one
// installed release, and then drives it only from outside: over HTTP, from another
// SDK and from a raw socket.  The same function names exist in the Python and Rust
// programs, so that one scenario serves all.
//
// What differs between generations lives in `generations.mjs`.

import { open } from './generations.mjs'
import { registerJobs } from './jobs.mjs'
import { registerObserved } from './observed.mjs'
import { registerStored } from './stored.mjs'

const PAUSE_MS = 150 // between two chunks of a streamed answer: to be seen from outside
const [, , address, prefix] = process.argv
const sdk = await open(address, prefix)
const id = (name) => `${prefix}::${name}`
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const notes = []
const bindings = {}
const unbound = []
const removable = {}
let seen = []

const handlers = {
  echo: async (data) => data,
  add: async (data) => ({ sum: data.a + data.b }),
  item: async (request) => ({
    status_code: 203,
    headers: { 'x-sdk': prefix },
    body: {
      id: request.path_params.id,
      page: request.query_params.page,
      agent: request.headers['x-agent'],
      method: request.method,
    },
  }),
  create: async (request) => ({
    status_code: 201,
    headers: { 'x-sdk': prefix },
    body: { id: request.path_params.id, got: request.body },
  }),
  nothing: async () => undefined,
  fail: async () => {
    throw new Error('broken on purpose')
  },
  note: async (data) => {
    sdk.log(`noted ${data.n}`)
    return { noted: notes.push(data.n) }
  },
  recorded: async () => ({ notes }),
  relay: async (data) => {
    try {
      return { value: await sdk.call(data.function_id, data.data ?? undefined) }
    } catch (error) {
      return { error: `${error.code}: ${error.message}` }
    }
  },
  send: async (data) => {
    sdk.send(data.function_id, data.data)
    return { sent: true }
  },
  lists: async () => sdk.lists(),
  announced: async () => ({ functions: seen }),
  bound: async () => ({ bound: bindings, unbound }),
  drop: async (data) => {
    removable[data.what].unregister()
    return { dropped: data.what }
  },
  // A trigger the engine has to refuse: `http` needs `api_path`.
  misregister: async () => {
    sdk.trigger('http', id('echo'), { http_method: 'GET' })
    return { sent: true }
  },
  stop: async () => {
    setImmediate(stop)
  },
}

const channels = {
  // A channel of our own: the reader's end goes to whoever asked.
  produce: async (data) => {
    const channel = await sdk.channel()
    channel.writer.sendMessage(`from ${prefix}`)
    channel.writer.stream.end(Buffer.alloc(data.size, 'x'))
    return { reader: channel.readerRef }
  },
  consume: async (data) => {
    const messages = []
    data.reader.onMessage((message) => messages.push(message))
    const content = await data.reader.readAll()
    return { size: content.length, messages }
  },
}

// Upper-cases the request body word by word, streaming.
async function stream(request, response) {
  const body = await request.request_body.readAll()
  response.status(207)
  response.headers({ 'content-type': 'text/plain', 'x-sdk': prefix })
  for (const word of body.toString().split(/\s+/)) {
    response.stream.write(`${word.toUpperCase()}\n`)
    await pause(PAUSE_MS)
  }
  response.stream.end()
}

async function stop() {
  await sdk.shutdown()
  console.log('program done')
  process.exit(0)
}

function route(method, path, name) {
  return sdk.trigger('http', id(name), { api_path: `${prefix}/${path}`, http_method: method })
}

for (const [name, handler] of Object.entries(handlers)) sdk.function(id(name), handler)
removable.function = sdk.function(id('temporary'), async () => ({ here: true }))
if (sdk.http) {
  for (const [name, handler] of Object.entries(channels)) sdk.function(id(name), handler)
  sdk.function(id('stream'), sdk.http(stream))
  route('POST', 'stream', 'stream')
}
sdk.triggerType(`${prefix}-events`, {
  registerTrigger: async ({ id: trigger, function_id, config }) => {
    if (config.refuse) throw new Error('refused on purpose')
    bindings[trigger] = { function_id, config }
  },
  unregisterTrigger: async ({ id: trigger }) => {
    unbound.push(trigger)
  },
})
registerStored(sdk, prefix)
registerJobs(sdk, prefix)
registerObserved(sdk, prefix)
sdk.onFunctions((functions) => {
  seen = functions.map((row) => row.function_id)
})
route('POST', 'add', 'add')
route('GET', 'items/:id', 'item')
route('POST', 'items/:id', 'create')
route('GET', 'nothing', 'nothing')
route('GET', 'fail', 'fail')
removable.trigger = route('GET', 'temporary', 'temporary')
console.log('program ready')
