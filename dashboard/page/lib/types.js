// The types of the server's responses (store/records.py and dashboard/schemas.py), for the type checker. Nothing here runs.

/**
 * @template T
 * @typedef {{items: T[], total: number, offset: number, limit: number}} Page
 */
/** @typedef {"queued" | "running" | "stalled" | "stopped" | "failed" | "done"} RunState */
/**
 * @typedef {object} RunSummary
 * @property {number} id
 * @property {string} name
 * @property {RunState} state
 * @property {boolean} silent whether the run should be running or starting, but sends no sign of life
 * @property {string | null} stage the stage of a running run (vocabulary/stages.py)
 * @property {number} created_at
 * @property {number | null} started_at
 * @property {number | null} ended_at
 * @property {number | null} heartbeat_at
 * @property {number} step
 * @property {number} steps
 * @property {string | null} failure
 * @property {string | null} job_id
 * @property {Record<string, number>} last_rewards
 * @property {number | null} seconds_per_step
 * @property {number | null} eta_s
 */
/** @typedef {Record<string, any>} Config as given to the run; that of an older version may lack settings */
/** @typedef {RunSummary & {folder: string, config: Config, environment: object, metric_names: string[]}} RunDetail */
/** @typedef {(number | null)[]} Values */
/** @typedef {{run_id: number, name: string, steps: number[], times: number[], mean: Values, low: Values, high: Values}} Series */
/** @typedef {{run_id: number, steps: number[], values: Values}} Curve */
/** @typedef {{id: number, time: number, kind: string, message: string}} EventRecord */
/**
 * @typedef {object} WorkerStatus
 * @property {string} role
 * @property {number} index
 * @property {string} node
 * @property {string | null} gpu
 * @property {number | null} pid
 * @property {number | null} policy_version
 * @property {number | null} queue
 * @property {number} restarts
 * @property {string} state
 * @property {number} updated_at
 */
/** @typedef {[number, number, number, number, string]} Box x, y, width, height in pixels of the frame; label */
/** @typedef {{time_s: number, edited: boolean, file: string, url: string, boxes: Box[]}} Frame */
/** @typedef {{label: string, true_place: number | null, frames: Frame[]}} Clip */
/**
 * @typedef {object} Completion
 * @property {string} text
 * @property {number | null} reward
 * @property {number | null} advantage
 * @property {boolean} valid
 * @property {string} finish_reason
 * @property {number} num_tokens
 * @property {number | null} logprob_mean
 */
/**
 * @typedef {object} GroupSummary
 * @property {number} id
 * @property {number} step
 * @property {string} group_id
 * @property {string} task
 * @property {string} prompt_key
 * @property {number} policy_version
 * @property {boolean} held_out
 * @property {string} question
 * @property {string} truth
 * @property {number | null} mean_reward
 * @property {number | null} spread
 */
/** @typedef {GroupSummary & {completions: Completion[]}} GroupHistory */
/** @typedef {GroupHistory & {details: string, frames: Clip[]}} StoredGroup */
/** @typedef {{step: number, held_out: boolean, task: string, count: number}} GroupStep */
/** @typedef {{id: number, stage: string, step: number, task: string, source: string, scores: Record<string, number>}} Evaluation */
/** @typedef {{name: string, task: string, label: string, random: number | null, published: number | null}} BenchmarkColumn */
/** @typedef {{run_id: number | null, name: string, time: number, scores: Record<string, number>}} BenchmarkRow */
/**
 * @typedef {object} Request
 * @property {number} id
 * @property {number | null} run_id
 * @property {string | null} run_name
 * @property {string} action
 * @property {string} asked_by
 * @property {number} asked_at
 * @property {number | null} taken_at
 * @property {number | null} done_at
 * @property {string | null} outcome
 */
/** @typedef {{request_id: number, run_id: number | null, message: string}} Accepted a recorded request; its outcome follows in the run's requests */
/** @typedef {{role: "operator" | "reader" | null, needs_token: boolean, can_start: boolean, configs: string[]}} Me */
/** @typedef {{name: string, title: string, unit: string, meaning: string}} MetricInfo */
/** @typedef {{run_id: number | null, what: string[], step: number | null}} Change */

export {};
