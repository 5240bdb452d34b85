"""The pupil's screen: what it says (`faces.py`), how that travels (`view.py`), who serves it (`server.py`), its page.

Imports the state machine, Starlette and uvicorn; knows no device. Start with `faces.py`.
"""
