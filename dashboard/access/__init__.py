"""Who may use the dashboard, and how often.

security     identifies callers by token or session; the dependencies that require a role
sessions     signed cookies for browsers that have logged in with a token
identity     names and addresses of callers, cleaned for logs and for counting
rate_limit   a token bucket per caller
middleware   checks on every request: other sites' pages, long or slow bodies; security headers
"""
