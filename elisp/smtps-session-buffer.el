;;; smtps-session-buffer.el --- The lines of a session, and its prompt  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; What happens is shown above the prompt, and leaves what is half typed, and
;; the undo of that, as it is.

;;; Code:

(require 'comint)
(require 'smtps-option)
(require 'smtps-session-look)
(require 'smtps-session-state)

(defcustom smtps-session-maximum-lines 10000
  "Lines that a session buffer keeps; the oldest are dropped."
  :type 'natnum
  :group 'smtps
  :package-version '(smtps . "0.1.0"))

(defconst smtps-session-prompt "send> "
  "What stands before the line that is typed.")

(defvar-local smtps-session--prompt-start nil
  "Marker before the prompt, where lines are inserted.")

(defvar-local smtps-session--line-count 0
  "Lines above the prompt, or more.")

(defvar-local smtps-session--dropped 0
  "Lines that were dropped at the top of the buffer.")

(defmacro smtps-session--quietly (&rest body)
  "Do BODY, a change of the buffer, with no trace in the undo list.
It may be one of what is out of sight."
  (declare (indent 0) (debug t))
  `(let ((inhibit-read-only t) (buffer-undo-list t))
     (save-restriction
       (widen)
       ,@body)))

(defun smtps-session--mark ()
  "Return the mark behind the prompt."
  (process-mark (get-buffer-process (current-buffer))))

(defun smtps-session--show-prompt ()
  "Put the prompt before what is half typed."
  (let ((start (marker-position smtps-session--prompt-start)))
    (smtps-session--quietly
      (save-excursion
        (goto-char start)
        (insert (propertize smtps-session-prompt
                            'font-lock-face 'smtps-session-prompt
                            'face 'smtps-session-prompt 'field 'prompt
                            'read-only t 'front-sticky '(read-only) 'rear-nonsticky t))
        (set-marker (smtps-session--mark) (point))))
    (set-marker smtps-session--prompt-start start))
  (setq buffer-undo-list nil))

(defun smtps-session--hide-prompt ()
  "Take the prompt away; what is half typed stays."
  (smtps-session--quietly
    (delete-region smtps-session--prompt-start (smtps-session--mark)))
  (setq buffer-undo-list nil))

(defun smtps-session--colour-prompt ()
  "Give the prompt the face for DATA, or the other."
  (let ((face (if smtps-session--data 'smtps-session-prompt-in-data 'smtps-session-prompt)))
    (with-silent-modifications
      (add-text-properties smtps-session--prompt-start (smtps-session--mark)
                           (list 'face face 'font-lock-face face)))))

(defun smtps-session--erase-input ()
  "Erase what stands behind the prompt, and what undo knows of it."
  (smtps-session--quietly
    (delete-region (smtps-session--mark) (point-max)))
  (setq comint-input-ring-index nil
        buffer-undo-list nil))

(defun smtps-session--insert (text face &optional properties wire)
  "Insert the line TEXT with FACE and PROPERTIES above the prompt.
WIRE is nil but for a line that went over the wire: the time beside it, or nil,
and whether LF alone ended it, in a list.
What is being typed stays as it is, and can be undone as before."
  (let* ((at (marker-position smtps-session--prompt-start))
         (there (= (point) at))
         (line (smtps-session-look--line
                text face (nconc (and wire (apply #'smtps-session-look--wire wire))
                                 properties))))
    (smtps-session--quietly
      (save-excursion
        (goto-char at)
        (insert line))
      (smtps-session-look--dress at (+ at (length line))))
    (when there
      (goto-char smtps-session--prompt-start))
    (setq buffer-undo-list (smtps-session--shifted buffer-undo-list at (length line))
          smtps-session--line-count (1+ smtps-session--line-count)))
  (smtps-session--trim))

(defun smtps-session--shifted (undo at count)
  "Return the list UNDO after COUNT characters were inserted at AT.
COUNT is negative if they were deleted."
  (let ((shift (lambda (position)
                 (cond ((>= position at) (+ position count))
                       ((<= position (- at)) (- position count))
                       (t position)))))
    (if (listp undo)
        (delq 'drop
              (mapcar (lambda (entry)
                        (pcase entry
                          ((pred integerp) (funcall shift entry))
                          (`(,(and beg (pred integerp)) . ,(and end (pred integerp)))
                           (cons (funcall shift beg) (funcall shift end)))
                          (`(,(and text (pred stringp)) . ,(and position (pred integerp)))
                           (cons text (funcall shift position)))
                          ((or 'nil `(t . ,_)) entry)
                          (_ 'drop)))
                      undo))
      undo)))

(defun smtps-session--trim ()
  "Drop the oldest lines beyond `smtps-session-maximum-lines', and say so.
They go by tenths of that, since it takes time to count them."
  (let* ((keep (smtps-option 'smtps-session-maximum-lines))
         (most (+ keep (max 1 (/ keep 10)))))
    (when (> smtps-session--line-count most)
      (setq smtps-session--line-count
            (count-lines (point-min) smtps-session--prompt-start))
      (when (> smtps-session--line-count most)
        (smtps-session--drop-lines
         (- smtps-session--line-count keep))))))

(defun smtps-session--drop-lines (count)
  "Drop the first COUNT lines, and say in one how many were dropped in all.
COUNT is more than one, since the line that said so before is among them."
  (setq smtps-session--dropped (+ smtps-session--dropped count
                                  (if (> smtps-session--dropped 0) -1 0)))
  (let ((size (buffer-size))
        (note (smtps-session-look--line
               (format "- %d older lines were dropped, see smtps-session-maximum-lines"
                       smtps-session--dropped)
               'smtps-session-info nil))
        end)
    (smtps-session--quietly
      (save-excursion
        (goto-char (point-min))
        (forward-line count)
        (setq end (point))
        (delete-region (point-min) end)
        (goto-char (point-min))
        (insert note)))
    (setq buffer-undo-list
          (smtps-session--shifted buffer-undo-list end (- (buffer-size) size))
          smtps-session--line-count (1+ (- smtps-session--line-count count)))))

(provide 'smtps-session-buffer)
;;; smtps-session-buffer.el ends here
