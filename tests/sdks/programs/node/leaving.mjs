// One of several workers of a shop: `leaving.mjs ADDRESS NAME`.
//
// SIGTERM: it asks the engine for no more calls, waits for what it runs, and leaves.

import { open } from './generations.mjs'

const WORK_MS = 30
const [address, name] = process.argv.slice(2)
const sdk = await open(address, 'shop')
const work = () => new Promise((resolve) => setTimeout(resolve, WORK_MS))

sdk.function('shop::price', async () => {
  await work()
  return { status_code: 200, body: { by: name } }
})
sdk.function('shop::pack', async ({ n }) => {
  await work()
  return sdk.call('probe::packed', { n, by: name })
})
sdk.trigger('http', 'shop::price', { api_path: 'price', http_method: 'GET' })

process.on('SIGTERM', async () => {
  const answer = await sdk.call('engine::workers::drain', { timeout_ms: 8000 })
  const drained = answer.drained ? 'True' : 'False'
  console.log(`program drained: ${drained}, in flight: ${answer.in_flight}`)
  await sdk.shutdown()
  process.exit(0)
})
console.log('program ready')
