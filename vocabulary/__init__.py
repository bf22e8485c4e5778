"""Names and rules that several packages share, so that writers and readers of a run's record agree.

- `metrics`: every metric: name, title, unit, meaning, and its Prometheus gauge.
- `events`: every kind of event: stored name, title, severity and old names.
- `stages`: what a run is doing, from "looking at the videos" to "done"; and the points of a run at which it evaluates.
- `workers`: the roles of a run's processes and what state they may be in.
- `run_states`: the states of a run.
- `text`: shortening error messages.
- `over_http`: which values a setting may have in a configuration that arrives over HTTP.
- `settings`: the walk over the settings of a configuration class, and the marker of those that may change on resume.
- `problems`: what is wrong with a setting, an option or a file, as data and as text.

Standard library only; every package may import it. The page gets the metrics from here (`/api/metrics`). Tests compare
the page's other words, and the Grafana dashboard (`deploy/grafana/videossr.json`), with these modules.
"""
