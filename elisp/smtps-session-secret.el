;;; smtps-session-secret.el --- What is typed in a session and not to be seen  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; A password is hidden while it is typed, and is kept in no history, no undo
;; list and no kill ring.

;;; Code:

(require 'subr-x)
(require 'smtps-session-buffer)

(defconst smtps-session--auth-regexp
  "^[ \t]*auth[ \t]+[^ \t\n]+[ \t]+\\([^ \t\n].*\\)"
  "An AUTH command with a secret in it, the first group (RFC 4954 section 4).")

(defvar-local smtps-session--typed-at 0
  "When a letter was typed here last, in seconds since the epoch.")

(defun smtps-session--hide (beg end _old)
  "Show what is typed from BEG to END as stars if it is not to be seen.
What stands behind the mechanism of an AUTH is not, either."
  (when (and (get-buffer-process (current-buffer))
             (>= beg (smtps-session--mark)))
    (when (eq this-command 'self-insert-command)
      (setq smtps-session--typed-at (float-time)))
    (with-silent-modifications
      (if (smtps-session--hidden-p)
          (smtps-session--star beg end)
        (save-excursion
          (save-restriction
            (save-match-data
              (smtps-session--narrow-to-lines beg end)
              (remove-text-properties (point-min) (point-max) '(display nil))
              (while (smtps-session--next-secret)
                (smtps-session--star (match-beginning 1) (match-end 1))))))))))

(defun smtps-session--narrow-to-lines (beg end)
  "Narrow to the typed lines that BEG to END is in, point before them."
  (let ((inhibit-field-text-motion t))
    (goto-char beg)
    (narrow-to-region (max (smtps-session--mark) (line-beginning-position))
                      (progn (goto-char end) (line-end-position)))
    (goto-char (point-min))))

(defun smtps-session--next-secret ()
  "Search from point for what is secret in a typed AUTH; return non-nil if found."
  (let ((case-fold-search t))
    (and (not smtps-session--data)
         (re-search-forward smtps-session--auth-regexp nil t))))

(defun smtps-session--star (beg end)
  "Show stars from BEG to END."
  (while (< beg end)
    ;; A string of its own for each, or neighbours are shown as one.
    (put-text-property beg (1+ beg) 'display (string ?*))
    (setq beg (1+ beg))))

(defun smtps-session--without-hidden (text)
  "Return TEXT, which is to be killed or copied, without what is shown as stars.
The kill ring is read by all, and by other programs, too."
  (let ((parts nil) (beg 0) (hidden nil))
    (while (< beg (length text))
      (let ((end (next-single-property-change beg 'display text (length text))))
        (if (equal (get-text-property beg 'display text) "*")
            (setq hidden t)
          (push (substring text beg end) parts))
        (setq beg end)))
    (when hidden
      (message "What is hidden was not put into the kill ring"))
    (if hidden (string-join (nreverse parts)) text)))

(defun smtps-session--secret-typed-p ()
  "Return non-nil if what stands behind the prompt is, or has, a secret."
  (or (smtps-session--hidden-p)
      (save-excursion
        (goto-char (smtps-session--mark))
        (smtps-session--next-secret))))

(defun smtps-session--erase-secret (due)
  "Erase what is half typed, as DUE, for a login that is over.
Sent as a command it would be seen by everybody."
  ;; Undo may know what was erased by hand, and would show it.
  (setq buffer-undo-list nil)
  (when (< (smtps-session--mark) (point-max))
    (smtps-session--erase-input)
    (smtps-session--insert
     (format "! The server no longer waits for the %s: what you had typed was erased, not sent."
             due)
     'smtps-session-refusal)))

(defun smtps-session--not-secret (entries)
  "Return the first of ENTRIES, up to one that is or may be a secret.
Behind AUTH come secrets, even before the server has asked for them."
  (let (kept)
    (while (and entries
                (caar entries)
                (not (cadar entries))
                (not (string-match-p "\\`[ \t]*auth\\b" (downcase (caar entries)))))
      (push (pop entries) kept))
    (nreverse kept)))

(provide 'smtps-session-secret)
;;; smtps-session-secret.el ends here
