// The generations of the Node SDK, behind one small interface.
//
// * 0.2.1: `init(url)`, `trigger(id, data)`, `triggerVoid`, `registerFunction({ id }, handler)`.
// * 0.9.0: `registerWorker(url)`, `trigger({ function_id, payload })`, still `({ id }, handler)`.
// * 0.11.6: `registerFunction(id, handler)`; the list methods are gone.
// * 0.22.1: channels, streams of one's own and `http` moved to other modules.
//
// Everything is asked of the installed package itself, never of its version number,
// except for the one thing that cannot be seen: how `registerFunction` takes its id.

import { readFile } from 'node:fs/promises'
import * as core from 'iii-sdk'

const { version } = JSON.parse(await readFile('node_modules/iii-sdk/package.json', 'utf8'))
const [, minor] = version.split('.').map(Number)

// What programs of releases without list methods call: id, key, column.
const LISTS = {
  functions: ['engine::functions::list', 'functions', 'function_id'],
  workers: ['engine::workers::list', 'workers', 'name'],
  triggers: ['engine::registered-triggers::list', 'registered_triggers', 'function_id'],
}

export async function optional(name) {
  try {
    return await import(name)
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND' && error.code !== 'ERR_PACKAGE_PATH_NOT_EXPORTED') throw error
    return {}
  }
}

export async function open(address, workerName) {
  const connect = core.registerWorker ?? core.init
  // Telemetry as it is by default, but with metrics soon enough to be waited for.
  const client = connect(address, { workerName, otel: { metricsExportIntervalMs: 300 } })
  const positional = core.registerWorker === undefined
  const helpers = await optional('iii-sdk/helpers')
  const { http } = core.http ? core : await optional('@iii-dev/helpers/http')
  const telemetry = {
    ...(await optional('iii-sdk/telemetry')),
    ...(await optional('@iii-dev/helpers/observability')),
    ...(await optional('@iii-dev/helpers/observability/internal')),
  }
  const { Logger } = core.Logger ? core : telemetry
  const logger = new Logger()
  const call = positional
    ? (id, data) => client.trigger(id, data)
    : (function_id, payload) => client.trigger({ function_id, payload })

  return {
    call,
    send: positional
      ? (id, data) => client.triggerVoid(id, data)
      : (function_id, payload) =>
          client.trigger({ function_id, payload, action: core.TriggerAction.Void() }),
    enqueue:
      core.TriggerAction &&
      ((queue, function_id, payload) =>
        client.trigger({ function_id, payload, action: core.TriggerAction.Enqueue({ queue }) })),
    function: (id, handler) => client.registerFunction(minor < 11 ? { id } : id, handler),
    trigger: (type, function_id, config) => client.registerTrigger({ type, function_id, config }),
    triggerType: (id, handler) =>
      client.registerTriggerType({ id, description: 'events of the program' }, handler),
    channel: () => (helpers.createChannel ? helpers.createChannel(client) : client.createChannel()),
    createStream: (name, stream) =>
      helpers.createStream
        ? helpers.createStream(client, name, stream)
        : client.createStream(name, stream),
    onFunctions: (callback) => client.onFunctionsAvailable?.(callback),
    http,
    log: (message) => logger.info(message, { from: workerName }),
    logger,
    meter: telemetry.getMeter,
    withSpan: telemetry.withSpan,
    onLog: client.onLog,
    shutdown: () => client.shutdown(),
    lists: () => (client.listFunctions ? ownLists(client) : calledLists(call)),
  }
}

async function ownLists(client) {
  const lists = {
    functions: (await client.listFunctions()).map((row) => row.function_id),
    workers: (await client.listWorkers()).map((row) => row.name),
  }
  if (client.listTriggers) {
    lists.triggers = (await client.listTriggers()).map((row) => row.function_id)
  }
  return lists
}

async function calledLists(call) {
  const lists = {}
  for (const [kind, [id, key, column]] of Object.entries(LISTS)) {
    lists[kind] = (await call(id, {}))[key].map((row) => row[column])
  }
  return lists
}
