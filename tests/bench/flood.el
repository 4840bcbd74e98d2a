;;; flood.el --- When keys were obeyed while servers flooded  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Loaded, behind keys.el, into the Emacs that flood.py types into.  The
;; sessions' ports are in FLOOD_PORTS; the last session is typed into.  The
;; lines "collection" have the seconds that one garbage collection took.

;;; Code:

(require 'smtps-session)

(defun flood-key ()
  "Note that a key was obeyed, in a session."
  (when (and (eq this-command #'self-insert-command)
             (derived-mode-p 'smtps-session-mode))
    (keys-note "key")))

(defvar flood-events 0
  "How many events were shown.")

(defun flood-event (&rest _)
  "Count an event."
  (setq flood-events (1+ flood-events)))

(defvar flood-collected 0
  "What `gc-elapsed' was after the last garbage collection.")

(defun flood-collection ()
  "Note how long this garbage collection took."
  (keys-note "collection" (- gc-elapsed flood-collected))
  (setq flood-collected gc-elapsed))

(defun flood-collect (word)
  "Collect garbage several times; note as WORD the least processor time of one."
  (keys-note word (apply #'min (mapcar (lambda (_)
                                         (let ((began (get-internal-run-time)))
                                           (garbage-collect)
                                           (float-time
                                            (time-subtract (get-internal-run-time) began))))
                                       (make-list 9 nil)))))

;; However busy the machine is with others, this tells how long we let keys wait.
(defvar flood-turns nil
  "The processor time of Emacs when the last turn began, and of the longest turn.
A turn goes from one slice of messages to the next; between them keys are read.")

(defun flood-turn (&rest _)
  "Note that a turn begins."
  (let ((now (float-time (get-internal-run-time))))
    (setq flood-turns
          (cons now (and flood-turns
                         (max (- now (car flood-turns)) (or (cdr flood-turns) 0)))))))

(defun flood-begin ()
  "Have all servers flood, by a line that each of them answers so.
Before that collect garbage, to know what it takes without a flood."
  (interactive)
  (flood-collect "quiet")
  (setq flood-collected gc-elapsed)
  (advice-add 'smtps-rpc--work :before #'flood-turn)
  (add-hook 'post-gc-hook #'flood-collection)
  (dolist (entry smtps-session--buffers)
    (with-current-buffer (cdr entry)
      (smtps-session--type '("ehlo me"))))
  (keys-note "go"))

(defun flood-end ()
  "Hang up in all sessions."
  (interactive)
  (keys-note "end")
  (remove-hook 'post-gc-hook #'flood-collection)
  (advice-remove 'smtps-rpc--work #'flood-turn)
  (keys-note "turn" (or (cdr flood-turns) 0))
  (flood-collect "full")
  (keys-note "events" flood-events)
  (keys-note "lines" (count-lines (point-min) (point-max)))
  (dolist (entry (copy-sequence smtps-session--buffers))
    (with-current-buffer (cdr entry)
      (let ((inhibit-message t))
        (cl-letf (((symbol-function 'y-or-n-p) (lambda (&rest _) t)))
          (smtps-session-hang-up))))))

(global-set-key (kbd "C-c <f6>") #'flood-begin)
(global-set-key (kbd "C-c <f7>") #'flood-end)
(advice-add 'smtps-session--show :before #'flood-event)
(add-hook 'post-command-hook #'flood-key)

(dolist (port (split-string (getenv "FLOOD_PORTS")))
  (smtps-session "127.0.0.1" (string-to-number port) :tls 'none))
(delete-other-windows)

;;; flood.el ends here
