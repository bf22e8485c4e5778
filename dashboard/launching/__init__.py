"""Starting runs from the dashboard.

    launcher        the protocol of what starts, resumes and ends runs; cluster/jobs/launchers.py implements it
    config_rules    checks that a configuration sent over HTTP sets nothing it may not
    open_settings   reads what each setting may be set to from the configuration class

The rules themselves stand on the settings' fields, as `OverHttp` (vocabulary/over_http.py).
"""
