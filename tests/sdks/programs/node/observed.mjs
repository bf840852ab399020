// The part of the program that tells of itself: a span, logs, metrics.
//
// All of it goes the SDK's own way.  The gauges of a worker are registered by the SDK.

const LEVELS = ['info', 'warn', 'error', 'debug']

export function registerObserved(sdk, prefix) {
  const told = []

  // A span with a log of each level inside.
  sdk.function(`${prefix}::observe`, ({ n }) =>
    sdk.withSpan(`work ${n}`, {}, async () => {
      for (const level of LEVELS) sdk.logger[level](`${level} ${n}`, { from: prefix })
      return { observed: n }
    }),
  )
  sdk.function(`${prefix}::measure`, async () => {
    sdk.meter().createCounter('program.measured').add(3, { from: prefix })
    return { measured: 3 }
  })
  if (!sdk.onLog) return
  // What came to the SDK's own log callback, which asks for warnings and worse.
  sdk.onLog((log) => told.push([log.severity_text, log.body]), { level: 'warn' })
  sdk.function(`${prefix}::told`, async () => ({ told }))
}
