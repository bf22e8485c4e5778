"""The API, a module for each subject. Routes that ask the store are plain functions, which FastAPI runs in threads."""
