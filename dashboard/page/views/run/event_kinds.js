// Kinds of events: titles and severities, as in vocabulary/events.py. A test compares the two.

/** @typedef {"info" | "warn" | "error"} Severity */

/** @type {Record<string, { title: string, severity: Severity }>} by stored name, old names included */
const KINDS = {
  stage: { title: "stage", severity: "info" },
  warming_up: { title: "warming up", severity: "info" },
  held_out_score: { title: "held-out score", severity: "info" },
  checkpoint: { title: "checkpoint", severity: "info" },
  request: { title: "request", severity: "info" },
  failed: { title: "failed", severity: "error" },
  stopped: { title: "stopped", severity: "info" },
  video_skipped: { title: "video skipped", severity: "warn" },
  video_set_aside: { title: "video skipped", severity: "warn" },
  video_rejected: { title: "video skipped", severity: "warn" },
  reward_failed: { title: "reward failed", severity: "error" },
  rollout_died: { title: "rollout worker died", severity: "error" },
  rollout_restarted: { title: "rollout worker restarted", severity: "warn" },
  rollout_lost: { title: "rollout worker lost", severity: "error" },
  learner_restarted: { title: "learner restarted", severity: "warn" },
  push_failed: { title: "push failed", severity: "error" },
  record_failed: { title: "record failed", severity: "error" },
  record_lost: { title: "record lost", severity: "error" },
};

/**
 * Title of a kind; one that this page does not know shows its stored name.
 * @param {string} kind
 */
export function eventTitle(kind) {
  return KINDS[kind]?.title ?? kind.replaceAll("_", " ");
}

/** @param {string} kind */
export function eventSeverity(kind) {
  return KINDS[kind]?.severity ?? "info";
}
