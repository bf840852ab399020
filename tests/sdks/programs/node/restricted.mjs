// A worker behind a gate: `restricted.mjs ADDRESS PREFIX [TOKEN]`.

import * as core from 'iii-sdk'
import { optional } from './generations.mjs'

const [address, prefix, token] = process.argv.slice(2)
const helpers = await optional('iii-sdk/helpers')
const client = core.registerWorker(address, {
  workerName: prefix,
  otel: { metricsExportIntervalMs: 300 },
  headers: token && { Authorization: `Bearer ${token}` },
})

const functions = {
  hello: async () => ({ from: prefix }),
  relay: async ({ function_id, data }) => {
    try {
      return { value: await client.trigger({ function_id, payload: data }) }
    } catch (error) {
      return { error: { kind: error.name ?? null, code: error.code ?? null, text: text(error) } }
    }
  },
  produce: async () => {
    const channel = await (helpers.createChannel ? helpers.createChannel(client) : client.createChannel())
    channel.writer.sendMessage(`from ${prefix}`)
    channel.writer.stream.end()
    return { reader: channel.readerRef }
  },
}

function text(error) {
  return error instanceof Error ? error.message : JSON.stringify(error)
}

for (const [name, handler] of Object.entries(functions)) {
  client.registerFunction(`${prefix}::${name}`, handler)
}
console.log('program ready')
