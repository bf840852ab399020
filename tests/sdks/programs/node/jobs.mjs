// The part of the program that has to do with queues, pub/sub and cron.
//
// It listens to what it is told to, with a function and a trigger of its own for each
// name, and keeps all that came.  What a handler does is in the message: with `failures`
// it fails that many times.

import { isDeepStrictEqual } from 'node:util'

export function registerJobs(sdk, prefix) {
  const events = {}
  const triggers = {}

  function handler(name) {
    const own = (events[name] = [])
    return async (event) => {
      own.push(event)
      const times = own.filter((each) => isDeepStrictEqual(each, event)).length
      if (times <= (event?.failures ?? 0)) throw new Error('broken on purpose')
    }
  }

  // A trigger of `type` for the function `PREFIX::on-NAME`.
  sdk.function(`${prefix}::listen`, async ({ type, name, config }) => {
    const functionId = `${prefix}::on-${name}`
    if (!events[name]) sdk.function(functionId, handler(name))
    triggers[name] = sdk.trigger(type, functionId, config)
    return { listening: name }
  })
  sdk.function(`${prefix}::unlisten`, async ({ name }) => {
    triggers[name].unregister()
    return { listening: null }
  })
  sdk.function(`${prefix}::heard`, async () => events)
  // A condition; it says what the message says.
  sdk.function(`${prefix}::wanted`, async (event) => event.wanted)
  if (!sdk.enqueue) return
  // The receipt from a named queue, by the SDK's own action; also over HTTP.
  sdk.function(`${prefix}::enqueue`, async ({ queue, function_id, data }) => {
    try {
      return { value: await sdk.enqueue(queue, function_id, data) }
    } catch (error) {
      return { error: `${error.code}: ${error.message}` }
    }
  })
  const route = { api_path: `${prefix}/enqueue`, http_method: 'POST' }
  sdk.trigger('http', `${prefix}::enqueue`, route)
}
