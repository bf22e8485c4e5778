"""Views of samples for people.

- `annotations`: what was edited or drawn, in words, frame numbers and boxes
- `contact_sheet`: a sample as one PNG, for `videossr data show`
- `thumbnails`: a sample's frames as small WebP files, for the dashboard
"""
