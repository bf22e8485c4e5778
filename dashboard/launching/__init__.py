"""Starting runs from the dashboard.

    launcher        the protocol of an object that starts, resumes and ends runs; cluster/jobs/launchers.py has two
    config_rules    checks that a configuration sent over HTTP sets nothing it may not
    open_settings   reads each setting's rule from the configuration class

The rules are on the settings' fields, as `OverHttp` (vocabulary/over_http.py).
"""
