"""When and how a new version is trained, compared with the champion, and proposed."""
